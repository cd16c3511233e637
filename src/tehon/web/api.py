"""The HTTP interface under /api: the same actions as the page's buttons, for scripts and for the page's own tests.

What is wrong with a request comes back as status 422 with one sentence for each mistake.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import JSONResponse
from nicegui.json import NiceGUIJSONResponse

from tehon.messages.problem import Problem
from tehon.planning.plan import draft_plan
from tehon.planning.report import as_data
from tehon.runs.inbox import ask, end_now
from tehon.runs.known import find_run, known_runs
from tehon.runs.queue import Queue
from tehon.runs.read import rows
from tehon.runs.status import look
from tehon.settings.fields import fields
from tehon.settings.files import validate
from tehon.web import actions

Tree = Annotated[dict[str, Any], Body()]
Row = dict[str, Any]
router = APIRouter(prefix="/api")


def api_app() -> FastAPI:
    """The interface as an application of its own, with its description at /api/openapi.json."""
    app = FastAPI(
        title="tehon",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=NiceGUIJSONResponse,
    )
    app.include_router(router)
    app.add_exception_handler(Problem, _refused)
    return app


async def _refused(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    found = [{"field": str(one.values.get("field", "")), "text": str(one)} for one in problem.all]
    return JSONResponse({"problems": found}, 422)


@router.get("/settings")
def describe_settings() -> list[Row]:
    """Every setting with its name, label, help, default and what a value must be."""
    return [
        {
            "name": field.name,
            "label": field.label,
            "help": field.help,
            "expected": field.expected,
            "required": field.required,
            "default": None if field.required else field.default,
        }
        for field in fields()
    ]


@router.post("/plan")
def plan(settings: Tree) -> Row:
    """The plan of settings given as tables, as `tehon plan --json` prints it."""
    return as_data(draft_plan(validate(settings)))


@router.get("/runs")
def list_runs() -> list[Row]:
    """All runs with what they are doing or how they ended, the newest first."""
    return [look(run).as_data() for run in known_runs()]


@router.post("/runs")
def start_run(settings: Tree) -> Row:
    """Begins a run as a process of its own."""
    return look(actions.start(validate(settings))).as_data()


@router.get("/runs/{name}")
def show_run(name: str) -> Row:
    """One run, by the name of its directory."""
    return look(_run(name)).as_data()


@router.get("/runs/{name}/events")
def run_events(name: str, after: int = 0) -> list[Row]:
    """What has happened, from the row numbered `after` on."""
    return rows(_run(name).events)[after:]


@router.get("/runs/{name}/metrics")
def run_metrics(name: str, after: int = 0) -> list[Row]:
    """Loss and rates of each step after the step `after`."""
    return [row for row in rows(_run(name).metrics) if row.get("step", 0) > after]


@router.post("/runs/{name}/{request}")
def ask_run(name: str, request: Literal["stop", "save", "preview", "end", "resume"]) -> Row:
    """Asks a run at work for something, ends it at once, or goes on with one that is not at work."""
    run = _run(name)
    if request == "end":
        end_now(run)
    elif request == "resume":
        actions.resume(run)
    else:
        ask(run, request)
    return look(run).as_data()


@router.get("/queue")
def list_queue() -> list[Row]:
    """The jobs in their order."""
    return [vars(job) for job in Queue().jobs()]


@router.post("/queue")
def add_to_queue(settings: Tree) -> Row:
    """Puts a run behind all others."""
    return vars(actions.enqueue(validate(settings)))


@router.post("/queue/{request}")
def ask_queue(request: Literal["pause", "resume"]) -> list[Row]:
    """From a pause on no job is begun, until it is resumed; those at work come to their end."""
    Queue().pause(request == "pause")
    return list_queue()


@router.delete("/queue/{number}")
def remove_from_queue(number: int) -> list[Row]:
    """Takes a job out."""
    Queue().remove([number])
    return list_queue()


def _run(name: str) -> Any:
    """By its directory's name alone: a path in an address is none that we follow."""
    if Path(name).name != name:
        raise Problem("run_unknown", name=name)
    return find_run(name)
