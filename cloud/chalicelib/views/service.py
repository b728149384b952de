"""The contract itself, and whether the root is well. Registered by `app.py`."""

from pathlib import Path

from chalice.app import Response

from chalicelib.lambda_app import RootViews
from chalicelib.views.answers import answer

CONTRACT = Path(__file__).parents[1] / "openapi.yaml"

views = RootViews(__name__)


@views.view("GET", "/api/v1/openapi.yaml")
def get_contract() -> Response:
    """The contract itself."""
    return Response(CONTRACT.read_text(), {"Content-Type": "application/yaml"}, 200)


@views.view("GET", "/api/v1/health")
def get_health() -> Response:
    """Whether the table can be reached."""
    views.root.places.occupied(views.root.clock())
    return answer({"status": "ok"})
