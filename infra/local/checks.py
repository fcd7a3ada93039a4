"""How to ask each service whether a declared resource is there as declared.

Only literal properties are compared, and references where a resource is nothing but its references: what a property
takes from another resource is otherwise that resource's own business.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One resource to ask about."""

    client: Any  # of the service that owns it
    name: str  # its physical id
    declared: Properties
    physical: Mapping[str, str]  # of every resource of the stack, by logical id

    def named(self, reference: Any) -> str:
        """The physical id behind a ``Ref`` or ``Fn::GetAtt``; literal text is itself."""
        if isinstance(reference, str):
            return reference
        logical_id = reference.get("Ref") or reference["Fn::GetAtt"][0]
        return self.physical.get(logical_id, "")


# Says what is wrong with the resource, "" when nothing is.
Check = Callable[[Question], str]

CHECKS: dict[str, tuple[str, Check]] = {}


def _check(resource_type: str, service: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[resource_type] = (service, check)
        return check

    return register


def _differences(declared: Properties, found: Mapping[str, Any], names: Mapping[str, str] | tuple[str, ...]) -> str:
    """Name the literal properties whose values are not the same. ``names`` maps a property to the answer's name."""
    pairs = names.items() if isinstance(names, Mapping) else ((name, name) for name in names)
    wrong = []
    for declared_name, found_name in pairs:
        if declared_name not in declared:
            continue
        wanted, got = declared[declared_name], found.get(found_name)
        if _is_literal(wanted) and _plain(wanted) != _plain(got):
            wrong.append(f"{declared_name} is {got!r}, declared {wanted!r}")
    return "; ".join(wrong)


def _is_literal(value: Any) -> bool:
    if isinstance(value, dict):
        intrinsic = len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::", "Condition"))
        return not intrinsic and all(_is_literal(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_literal(item) for item in value)
    return True


def _plain(value: Any) -> Any:
    """Templates write numbers and booleans as text or not, as they like; order of lists carries no meaning here."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else str(value)
    return value


def _first(found: Sequence[Any]) -> Any:
    return found[0] if found else {}


def _attributes(answer: Mapping[str, Any]) -> Mapping[str, str]:
    attributes: Mapping[str, str] = answer["Attributes"]
    return attributes


@_check("AWS::DynamoDB::Table", "dynamodb")
def _table(ask: Question) -> str:
    table = ask.client.describe_table(TableName=ask.name)["Table"]
    wrong = [_differences(ask.declared, table, ("KeySchema", "AttributeDefinitions", "DeletionProtectionEnabled"))]
    for indexes in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes"):
        for index in ask.declared.get(indexes, ()):
            found = [item for item in table.get(indexes, ()) if item["IndexName"] == index["IndexName"]]
            wrong.append(_differences(index, _first(found), ("IndexName", "KeySchema", "Projection")))
    if "TimeToLiveSpecification" in ask.declared:
        time_to_live = ask.client.describe_time_to_live(TableName=ask.name)["TimeToLiveDescription"]
        if time_to_live.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            wrong.append("time to live is off")
        wrong.append(_differences(ask.declared["TimeToLiveSpecification"], time_to_live, ("AttributeName",)))
    if "PointInTimeRecoverySpecification" in ask.declared:
        backups = ask.client.describe_continuous_backups(TableName=ask.name)["ContinuousBackupsDescription"]
        state = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        if state != "ENABLED":
            wrong.append("point in time recovery is off")
    if "SSESpecification" in ask.declared and table.get("SSEDescription", {}).get("Status") != "ENABLED":
        wrong.append("encryption is off")
    return "; ".join(filter(None, wrong))


@_check("AWS::SQS::Queue", "sqs")
def _queue(ask: Question) -> str:
    found = _attributes(ask.client.get_queue_attributes(QueueUrl=ask.name, AttributeNames=["All"]))
    wrong = _differences(
        ask.declared, found, ("VisibilityTimeout", "MessageRetentionPeriod", "DelaySeconds", "SqsManagedSseEnabled")
    )
    redrive = ask.declared.get("RedrivePolicy")
    if redrive:
        policy = json.loads(found.get("RedrivePolicy", "{}"))
        if not policy.get("deadLetterTargetArn"):
            return f"{wrong}; it has no dead-letter queue"
        wrong += _differences(redrive, policy, ("maxReceiveCount",))
    return wrong


@_check("AWS::SQS::QueuePolicy", "sqs")
def _queue_policy(ask: Question) -> str:
    for queue in ask.declared["Queues"]:
        answer = ask.client.get_queue_attributes(QueueUrl=ask.named(queue), AttributeNames=["Policy"])
        if not (answer.get("Attributes") or {}).get("Policy"):
            return f"the queue {ask.named(queue)} has no policy"
    return ""


@_check("AWS::SNS::Topic", "sns")
def _topic(ask: Question) -> str:
    _attributes(ask.client.get_topic_attributes(TopicArn=ask.name))
    return ""


@_check("AWS::SNS::Subscription", "sns")
def _subscription(ask: Question) -> str:
    attributes = _attributes(ask.client.get_subscription_attributes(SubscriptionArn=ask.name))
    redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
    if "RedrivePolicy" in ask.declared and not redrive.get("deadLetterTargetArn"):
        return "it has no dead-letter queue"
    topic = ask.named(ask.declared["TopicArn"])
    listed = ask.client.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    found = _first([item for item in listed if item["SubscriptionArn"] == ask.name])
    return _differences(ask.declared, found, ("Protocol",)) if found else f"the topic {topic} does not list it"


@_check("AWS::SNS::TopicPolicy", "sns")
def _topic_policy(ask: Question) -> str:
    for topic in ask.declared["Topics"]:
        if not _attributes(ask.client.get_topic_attributes(TopicArn=ask.named(topic))).get("Policy"):
            return f"the topic {ask.named(topic)} has no policy"
    return ""


@_check("AWS::Lambda::Function", "lambda")
def _function(ask: Question) -> str:
    found = ask.client.get_function(FunctionName=ask.name)
    config = found["Configuration"]
    wrong = [_differences(ask.declared, config, ("Runtime", "Handler", "Timeout", "MemorySize", "Architectures"))]
    if not config.get("CodeSize"):
        wrong.append("it has no code")
    if len(config.get("Layers", ())) != len(ask.declared.get("Layers", ())):
        wrong.append("its layers are not attached")
    wanted = (ask.declared.get("Environment") or {}).get("Variables") or {}
    got = (config.get("Environment") or {}).get("Variables") or {}
    absent = sorted(set(wanted) - set(got))
    if absent:
        wrong.append(f"its environment lacks {', '.join(absent)}")
    if "ReservedConcurrentExecutions" in ask.declared:
        wrong.append(_differences(ask.declared, found.get("Concurrency", {}), ("ReservedConcurrentExecutions",)))
    return "; ".join(filter(None, wrong))


@_check("AWS::Lambda::LayerVersion", "lambda")
def _layer(ask: Question) -> str:
    found = ask.client.get_layer_version_by_arn(Arn=ask.name)
    if not found["Content"].get("CodeSize"):
        return "it has no content"
    return _differences(ask.declared, found, ("CompatibleRuntimes",))


@_check("AWS::Lambda::EventSourceMapping", "lambda")
def _event_source(ask: Question) -> str:
    found = ask.client.get_event_source_mapping(UUID=ask.name)
    function = ask.named(ask.declared["FunctionName"])
    if not found["FunctionArn"].endswith(f":{function}"):
        return f"it calls {found['FunctionArn']}, declared {function}"
    if found["State"] not in ("Enabled", "Enabling", "Creating"):
        return f"its state is {found['State']}"
    return _differences(
        ask.declared,
        found,
        ("BatchSize", "MaximumBatchingWindowInSeconds", "FunctionResponseTypes", "ScalingConfig", "FilterCriteria"),
    )


@_check("AWS::Lambda::Permission", "lambda")
def _permission(ask: Question) -> str:
    function, principal = ask.named(ask.declared["FunctionName"]), ask.declared["Principal"]
    policy = json.loads(ask.client.get_policy(FunctionName=function)["Policy"])
    allowed = [statement for statement in policy["Statement"] if principal in json.dumps(statement["Principal"])]
    return "" if allowed else f"{function} may not be called by {principal}"


@_check("AWS::Lambda::EventInvokeConfig", "lambda")
def _invoke_config(ask: Question) -> str:
    function, qualifier = ask.named(ask.declared["FunctionName"]), ask.declared["Qualifier"]
    found = ask.client.get_function_event_invoke_config(FunctionName=function, Qualifier=qualifier)
    return _differences(ask.declared, found, ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"))


@_check("AWS::StepFunctions::StateMachine", "stepfunctions")
def _machine(ask: Question) -> str:
    found = ask.client.describe_state_machine(stateMachineArn=ask.name)
    definition = json.loads(found["definition"])
    if not definition.get("States"):
        return "its definition has no states"
    if "${" in found["definition"]:
        return "its definition has placeholders left"
    return _differences(ask.declared, found, {"StateMachineType": "type"})


@_check("AWS::ApiGatewayV2::Api", "apigatewayv2")
def _api(ask: Question) -> str:
    return _differences(ask.declared, ask.client.get_api(ApiId=ask.name), ("ProtocolType",))


def _part_of_api(ask: Question, operation: str, member: str) -> Mapping[str, Any]:
    own = ask.name.rpartition("/")[2]
    items = getattr(ask.client, operation)(ApiId=ask.named(ask.declared["ApiId"]))["Items"]
    found: Mapping[str, Any] = _first([item for item in items if item[member] == own])
    return found


@_check("AWS::ApiGatewayV2::Stage", "apigatewayv2")
def _stage(ask: Question) -> str:
    found = _part_of_api(ask, "get_stages", "StageName")
    return (
        _differences(ask.declared, found, ("StageName", "AutoDeploy", "DefaultRouteSettings")) if found else "not there"
    )


@_check("AWS::ApiGatewayV2::Integration", "apigatewayv2")
def _integration(ask: Question) -> str:
    found = _part_of_api(ask, "get_integrations", "IntegrationId")
    return _differences(ask.declared, found, ("IntegrationType", "PayloadFormatVersion")) if found else "not there"


@_check("AWS::ApiGatewayV2::Route", "apigatewayv2")
def _route(ask: Question) -> str:
    found = _part_of_api(ask, "get_routes", "RouteId")
    if not found:
        return "not there"
    if "AuthorizerId" in ask.declared and not found.get("AuthorizerId"):
        return "it has lost its authorizer"
    return _differences(ask.declared, found, ("RouteKey", "AuthorizationType"))


@_check("AWS::ApiGatewayV2::Authorizer", "apigatewayv2")
def _authorizer(ask: Question) -> str:
    found = _part_of_api(ask, "get_authorizers", "AuthorizerId")
    if not found:
        return "not there"
    return _differences(
        ask.declared,
        found,
        ("AuthorizerType", "IdentitySource", "EnableSimpleResponses", "AuthorizerPayloadFormatVersion"),
    )


@_check("AWS::CloudWatch::Alarm", "cloudwatch")
def _alarm(ask: Question) -> str:
    found = _first(ask.client.describe_alarms(AlarmNames=[ask.name])["MetricAlarms"])
    if not found:
        return "not there"
    if len(found.get("AlarmActions", ())) != len(ask.declared.get("AlarmActions", ())):
        return "its actions are not set"
    names = ("Namespace", "MetricName", "Statistic", "ExtendedStatistic", "Period", "EvaluationPeriods", "Threshold")
    return _differences(
        ask.declared, found, (*names, "ComparisonOperator", "TreatMissingData", "DatapointsToAlarm", "Dimensions")
    )


@_check("AWS::CloudWatch::Dashboard", "cloudwatch")
def _dashboard(ask: Question) -> str:
    body = ask.client.get_dashboard(DashboardName=ask.name)["DashboardBody"]
    try:
        widgets = json.loads(body)["widgets"]
    except (ValueError, KeyError):
        return "its body is not a dashboard"
    return "" if widgets else "it has no widgets"


@_check("AWS::SecretsManager::Secret", "secretsmanager")
def _secret(ask: Question) -> str:
    found = ask.client.get_secret_value(SecretId=ask.name)["SecretString"]
    template = ask.declared.get("GenerateSecretString")
    if template and "GenerateStringKey" in template and not json.loads(found).get(template["GenerateStringKey"]):
        return "its value was not generated"
    return ""


@_check("AWS::SSM::Parameter", "ssm")
def _parameter(ask: Question) -> str:
    return _differences(ask.declared, ask.client.get_parameter(Name=ask.name)["Parameter"], ("Type", "Value"))


@_check("AWS::IAM::Role", "iam")
def _role(ask: Question) -> str:
    ask.client.get_role(RoleName=ask.name)
    inline = set(ask.client.list_role_policies(RoleName=ask.name)["PolicyNames"])
    absent = [policy["PolicyName"] for policy in ask.declared.get("Policies", ()) if policy["PolicyName"] not in inline]
    if absent:
        return f"it lacks the policies {', '.join(absent)}"
    attached = ask.client.list_attached_role_policies(RoleName=ask.name)["AttachedPolicies"]
    return "" if len(attached) >= len(ask.declared.get("ManagedPolicyArns", ())) else "a managed policy is not attached"


@_check("AWS::IAM::ManagedPolicy", "iam")
def _managed_policy(ask: Question) -> str:
    ask.client.get_policy(PolicyArn=ask.name)
    return ""


@_check("AWS::Scheduler::Schedule", "scheduler")
def _schedule(ask: Question) -> str:
    group, _, own = ask.name.rpartition("|") if "|" in ask.name else ("", "", ask.name.rpartition("/")[2])
    place = {"GroupName": group} if group else {}
    found = ask.client.get_schedule(Name=own, **place)
    if "DeadLetterConfig" in ask.declared["Target"] and not found["Target"].get("DeadLetterConfig"):
        return "it has no dead-letter queue"
    return _differences(ask.declared, found, ("ScheduleExpression", "State"))


@_check("AWS::Events::Rule", "events")
def _rule(ask: Question) -> str:
    own = ask.name.rpartition("|")[2].rpartition("/")[2]
    found = ask.client.describe_rule(Name=own)
    targets = ask.client.list_targets_by_rule(Rule=own)["Targets"]
    if len(targets) != len(ask.declared.get("Targets", ())):
        return "its targets are not set"
    return _differences(ask.declared, found, ("ScheduleExpression", "State"))


@_check("AWS::Logs::LogGroup", "logs")
def _log_group(ask: Question) -> str:
    groups = ask.client.describe_log_groups(logGroupNamePrefix=ask.name)["logGroups"]
    found = _first([group for group in groups if group["logGroupName"] == ask.name])
    return _differences(ask.declared, found, {"RetentionInDays": "retentionInDays"}) if found else "not there"


@_check("AWS::S3::Bucket", "s3")
def _bucket(ask: Question) -> str:
    ask.client.head_bucket(Bucket=ask.name)
    return ""


@_check("AWS::S3::BucketPolicy", "s3")
def _bucket_policy(ask: Question) -> str:
    ask.client.get_bucket_policy(Bucket=ask.name)
    return ""


@_check("AWS::ECS::Cluster", "ecs")
def _cluster(ask: Question) -> str:
    found = _first(ask.client.describe_clusters(clusters=[ask.name])["clusters"])
    return "" if found.get("status") == "ACTIVE" else "not there"


@_check("AWS::ECS::TaskDefinition", "ecs")
def _task_definition(ask: Question) -> str:
    found = ask.client.describe_task_definition(taskDefinition=ask.name)["taskDefinition"]
    if len(found["containerDefinitions"]) != len(ask.declared["ContainerDefinitions"]):
        return "its containers are not defined"
    return _differences(ask.declared, found, {"Cpu": "cpu", "Memory": "memory", "NetworkMode": "networkMode"})


@_check("AWS::ECS::Service", "ecs")
def _service(ask: Question) -> str:
    # arn:aws:ecs:region:account:service/cluster/name; it is recorded, nothing runs
    cluster = ask.name.split("/")[-2]
    found = _first(ask.client.describe_services(cluster=cluster, services=[ask.name])["services"])
    if found.get("status") != "ACTIVE":
        return "not there"
    return _differences(ask.declared, found, {"LaunchType": "launchType"})


@_check("AWS::EC2::VPC", "ec2")
def _vpc(ask: Question) -> str:
    return _differences(ask.declared, _first(ask.client.describe_vpcs(VpcIds=[ask.name])["Vpcs"]), ("CidrBlock",))


@_check("AWS::EC2::Subnet", "ec2")
def _subnet(ask: Question) -> str:
    return _differences(
        ask.declared, _first(ask.client.describe_subnets(SubnetIds=[ask.name])["Subnets"]), ("CidrBlock",)
    )


@_check("AWS::EC2::InternetGateway", "ec2")
def _internet_gateway(ask: Question) -> str:
    return (
        "" if ask.client.describe_internet_gateways(InternetGatewayIds=[ask.name])["InternetGateways"] else "not there"
    )


@_check("AWS::EC2::VPCGatewayAttachment", "ec2")
def _gateway_attachment(ask: Question) -> str:
    network, gateway = ask.named(ask.declared["VpcId"]), ask.named(ask.declared["InternetGatewayId"])
    found = _first(ask.client.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"])
    attached = [item.get("VpcId") for item in found.get("Attachments", ())]
    return "" if network in attached else f"{gateway} is not attached to {network}"


@_check("AWS::EC2::RouteTable", "ec2")
def _route_table(ask: Question) -> str:
    return "" if ask.client.describe_route_tables(RouteTableIds=[ask.name])["RouteTables"] else "not there"


@_check("AWS::EC2::Route", "ec2")
def _ec2_route(ask: Question) -> str:
    wanted = ask.declared["DestinationCidrBlock"]
    table = ask.named(ask.declared["RouteTableId"])
    found = _first(ask.client.describe_route_tables(RouteTableIds=[table])["RouteTables"])
    routes = [route.get("DestinationCidrBlock") for route in found.get("Routes", ())]
    return "" if wanted in routes else f"{table} has no route to {wanted}"


@_check("AWS::EC2::SubnetRouteTableAssociation", "ec2")
def _route_table_association(ask: Question) -> str:
    table = ask.named(ask.declared["RouteTableId"])
    found = _first(ask.client.describe_route_tables(RouteTableIds=[table])["RouteTables"])
    subnets = [item.get("SubnetId") for item in found.get("Associations", ())]
    return "" if ask.named(ask.declared["SubnetId"]) in subnets else f"{table} does not serve the subnet"


@_check("AWS::EC2::SecurityGroup", "ec2")
def _security_group(ask: Question) -> str:
    found = _first(ask.client.describe_security_groups(GroupIds=[ask.name])["SecurityGroups"])
    if len(found.get("IpPermissions", ())) != len(ask.declared.get("SecurityGroupIngress", ())):
        return "its ingress rules differ"
    return ""


@_check("AWS::EC2::VPCEndpoint", "ec2")
def _vpc_endpoint(ask: Question) -> str:
    found = _first(ask.client.describe_vpc_endpoints(VpcEndpointIds=[ask.name])["VpcEndpoints"])
    return _differences(ask.declared, found, ("VpcEndpointType",)) if found else "not there"
