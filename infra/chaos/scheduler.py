"""Virtual time and one thread at a time: whoever runs holds the baton, and a seed decides who gets it next.

Activities are threads, so that the code under test needs to know nothing of this; they give the baton on wherever they
wait. Time moves only when nobody can run at the present moment. The same seed gives the same order again.
"""

import threading
from collections.abc import Callable
from random import Random

MOST_TURNS = 2_000_000


class Abandoned(BaseException):
    """The run is over: ends whoever still waits, and is no error that a handler could take for its own."""


class Activity:
    """Something that goes on beside other things. ``deadline_ms`` is when it is ended from outside, if it is;
    ``pace`` how many times slower than usual its calls are;
    ``attempt`` which attempt at a basket it drives, 0 for none."""

    def __init__(self, name: str, number: int, wake_ms: int) -> None:
        self.name = name
        self.number = number
        self.wake_ms = wake_ms
        self.deadline_ms: int | None = None
        self.function = ""
        self.pace = 1
        self.attempt = 0
        self._turn = threading.Semaphore(0)

    def take_turn(self) -> None:
        """Wait for the baton."""
        self._turn.acquire()

    def give_turn(self) -> None:
        """Hand the baton to this activity."""
        self._turn.release()


class DeadlineError(BaseException):
    """The activity's deadline came while it waited: its process is ended."""


class Scheduler:
    """Runs activities one at a time.

    :param seed: decides who runs next where several could
    :param now_ms: the first moment, UTC milliseconds
    """

    def __init__(self, seed: str, now_ms: int) -> None:
        self._chance = Random(seed)  # noqa: S311 - seeded
        self._now_ms = now_ms
        self._alive: list[Activity] = []
        self._number = 0
        self._main = threading.Semaphore(0)
        self._here = threading.local()
        self._abandoned = False
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self.turns = 0

    def now_ms(self) -> int:
        """The present moment, UTC milliseconds."""
        return self._now_ms

    @property
    def current(self) -> Activity:
        """The activity that asks."""
        activity: Activity = self._here.activity
        return activity

    def start(self, name: str, work: Callable[[], None], after_ms: int = 0) -> Activity:
        """Begin an activity; it gets its first turn at the earliest ``after_ms`` from now."""
        self._number += 1
        activity = Activity(name, self._number, self._now_ms + after_ms)
        self._alive.append(activity)
        thread = threading.Thread(target=self._live, args=(activity, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return activity

    def run(self) -> None:
        """Let all activities run to their ends. Whatever one of them did not handle is raised here."""
        if self._alive:
            self._next().give_turn()
            self._main.acquire()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._failure is not None:
            raise self._failure

    def wait(self, milliseconds: int) -> None:
        """Let others run, and time pass.

        :raises DeadlineError: the activity's deadline comes first
        """
        activity = self.current
        until_ms = self._now_ms + milliseconds
        deadline_ms = activity.deadline_ms
        activity.wake_ms = until_ms if deadline_ms is None else min(until_ms, max(deadline_ms, self._now_ms))
        chosen = self._next()
        if chosen is not activity:
            chosen.give_turn()
            activity.take_turn()
            if self._abandoned:
                raise Abandoned
        if deadline_ms is not None and deadline_ms < until_ms:
            raise DeadlineError

    def _live(self, activity: Activity, work: Callable[[], None]) -> None:
        self._here.activity = activity
        activity.take_turn()
        try:
            if not self._abandoned:
                work()
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - handed to whoever runs the scheduler
            self._abandon(error)
            return
        if not self._abandoned:
            self._alive.remove(activity)
            self._pass_on()

    def _pass_on(self) -> None:
        if self._alive:
            self._next().give_turn()
        else:
            self._main.release()

    def _abandon(self, error: BaseException) -> None:
        self._failure = error
        self._abandoned = True
        for other in self._alive:
            other.give_turn()
        self._alive.clear()
        self._main.release()

    def _next(self) -> Activity:
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise RuntimeError("the run does not come to an end")
        ready = [activity for activity in self._alive if activity.wake_ms <= self._now_ms]
        if not ready:
            self._now_ms = min(activity.wake_ms for activity in self._alive)
            ready = [activity for activity in self._alive if activity.wake_ms <= self._now_ms]
        return ready[0] if len(ready) == 1 else self._chance.choice(ready)


class VirtualClock:
    """``Clock`` of a machine in a run, ``ahead_ms`` ahead of the scheduler's time."""

    def __init__(self, scheduler: Scheduler, ahead_ms: int = 0) -> None:
        self._scheduler = scheduler
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        """UTC milliseconds, as this machine believes."""
        return self._scheduler.now_ms() + self._ahead_ms

    def sleep(self, seconds: float) -> None:
        """Let others run meanwhile."""
        self._scheduler.wait(round(seconds * 1000))
