"""What devices call: deploy, what is deployed, candidates, recipes, and what they measured.

Registered by `app.py`; calls `deploying/deploy.py` and `accounts/apps.py`.
"""

from chalice.app import Response

from chalicelib.choosing.measurements import parse_measurements
from chalicelib.fields import parse_uuid
from chalicelib.incoming import application_key, client_address, client_info, json_body, parameter
from chalicelib.lambda_app import RootViews
from chalicelib.root import candidate_json
from chalicelib.views.answers import answer, nothing
from chalicelib.views.callers import check_device, check_recipe_reader
from chalicelib.wire import parse_results, parse_wait

UNSAID_WAIT_SECONDS = 5.0  # clients that don't say `wait` know nothing of readiness

views = RootViews(__name__)


@views.view("POST", "/api/v1/deploy/{app_uuid}/{application_key+}")
def deploy(app_uuid: str) -> Response:
    """Deploy the app's backend on the best cloudlets."""
    request, root = views.current_request, views.root
    uuid, key = parse_uuid(app_uuid, "app_uuid"), application_key(request)
    results = parse_results(parameter(request, "results"))
    wait_seconds = parse_wait(parameter(request, "wait"), UNSAID_WAIT_SECONDS)
    client = client_info(request, key, root.settings.trusted_proxies)
    root.limits.call("deploy", client.ipaddress)
    app = root.apps.find(uuid)
    check_device(root, request, app)  # first, so that strangers use nobody's quota up
    root.limits.deploy(app)
    deployed = root.deployer.deploy(uuid, client, results, wait_seconds)
    return answer([each.to_json() for each in deployed.deployments], _matcher(deployed.fallback))


@views.view("GET", "/api/v1/deploy/{app_uuid}/{application_key+}")
def get_deployments(app_uuid: str) -> Response:
    """What is deployed for this app and key."""
    request, root = views.current_request, views.root
    uuid, key = parse_uuid(app_uuid, "app_uuid"), application_key(request)
    results = parse_results(parameter(request, "results"))
    client = client_info(request, key, root.settings.trusted_proxies)
    root.limits.call("status", client.ipaddress)
    check_device(root, request, root.apps.find(uuid))
    return answer([each.to_json() for each in root.standing.existing(uuid, client, results)])


@views.view("DELETE", "/api/v1/deploy/{app_uuid}/{application_key+}")
def release_deployments(app_uuid: str) -> Response:
    """Give back what is deployed for this app and key, or all but one."""
    request, root = views.current_request, views.root
    uuid, key = parse_uuid(app_uuid, "app_uuid"), application_key(request)
    keep = parameter(request, "keep")
    client = client_info(request, key, root.settings.trusted_proxies)
    root.limits.call("release", client.ipaddress)
    check_device(root, request, root.apps.find(uuid))
    root.standing.release(uuid, client, None if keep is None else parse_uuid(keep, "keep"))
    return nothing()


@views.view("GET", "/api/v1/candidates/{app_uuid}")
def find_candidates(app_uuid: str) -> Response:
    """The cloudlets that a deploy would ask."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(app_uuid, "app_uuid")
    results = parse_results(parameter(request, "results"))
    client = client_info(request, b"", root.settings.trusted_proxies)
    root.limits.call("candidates", client.ipaddress)
    check_device(root, request, root.apps.find(uuid))
    offer = root.deployer.candidates(uuid, client)
    found = [candidate_json(each, client, stale=each in offer.stale) for each in offer.cloudlets[:results]]
    return answer(found, _matcher(offer.fallback))


@views.view("GET", "/api/v1/recipe/{app_uuid}")
def get_recipe(app_uuid: str) -> Response:
    """The recipe of an app; a restricted one for those who have to do with the app."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(app_uuid, "app_uuid")
    root.limits.call("recipe", client_address(request, root.settings.trusted_proxies))
    app = root.apps.find(uuid)
    if app.recipe.restricted:
        check_recipe_reader(root, request, app)
    return answer(app.recipe.to_json())


@views.view("POST", "/api/v1/measurements/{app_uuid}")
def report_measurements(app_uuid: str) -> Response:
    """Take what a device measured to cloudlets."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(app_uuid, "app_uuid")
    address = client_address(request, root.settings.trusted_proxies)
    root.limits.call("measurements", address)
    measurements = parse_measurements(json_body(request))
    check_device(root, request, root.apps.find(uuid))
    root.measurements.note(address, measurements)
    return nothing()


def _matcher(fallback: str | None) -> dict[str, str]:
    """Says in a header that another chain than the app's own chose, and why; the body keeps its shape."""
    return {} if fallback is None else {"X-Sinfonia-Matcher": f"fallback; {fallback}"}
