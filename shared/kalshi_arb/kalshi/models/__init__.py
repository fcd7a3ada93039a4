"""Models of the REST API's answers (Kalshi API documentation, OpenAPI 3.34). Field names are the exchange's own.

A field is needed when something here rests on it; what is only shown is optional, because the exchange removes such
fields now and then.
"""
