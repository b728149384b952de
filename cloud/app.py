"""ST-1, put together: the application and its views. `chalice package` makes a Lambda function of this,
`local_root.py` a server on a laptop.

Each view reads the request (`chalicelib/incoming.py`, `wire.py`), calls one use case and answers; errors
become problem documents in one place. The contract is `chalicelib/openapi.yaml`, a path per route.
"""

from chalicelib.lambda_app import RootApp
from chalicelib.views import admissions, apps, camara, cloudlets, devices, management, service

app = RootApp("sinfonia-root")
for room in (devices, cloudlets, service, management, apps, admissions, camara):
    app.register_blueprint(room.views)
