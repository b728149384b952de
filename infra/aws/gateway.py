"""What API Gateway says and does by itself: its own errors as problem documents, pace, and access logs.

Called by `template.py`. The documents' types are those of `chalicelib/openapi.yaml`. API Gateway answers
before the function where no route fits, where a body has more than 10 MB, where calls come too fast, and
where the function fails or takes more than 29 s.
"""

import json
from typing import Any

# response type: (status, last part of the problem's type, title, detail)
# Source of the names: API Gateway Developer Guide, "Gateway response types".
_UNAVAILABLE = (503, "unavailable", "Unavailable", "The root did not answer in time. Try again.")
_INTERNAL = (500, "internal", "Internal error", "The root could not answer.")
_UNAUTHORIZED = (401, "unauthorized", "Unauthorized", "The credentials are not accepted.")
_NOT_FOUND = (404, "not-found", "Not found", "There is nothing at this path for this method.")
_FORBIDDEN = (403, "forbidden", "Forbidden", "This is not allowed.")
_INVALID = (400, "invalid-request", "Invalid request", "The request can't be read.")
_TOO_MANY = (429, "too-many-requests", "Too many requests", "Calls come too fast. Try again later.")
RESPONSES = {
    "ACCESS_DENIED": _FORBIDDEN,
    "API_CONFIGURATION_ERROR": _INTERNAL,
    "AUTHORIZER_CONFIGURATION_ERROR": _INTERNAL,
    "AUTHORIZER_FAILURE": _INTERNAL,
    "BAD_REQUEST_BODY": _INVALID,
    "BAD_REQUEST_PARAMETERS": _INVALID,
    "DEFAULT_4XX": _INVALID,
    "DEFAULT_5XX": _INTERNAL,
    "EXPIRED_TOKEN": _UNAUTHORIZED,
    "INTEGRATION_FAILURE": _UNAVAILABLE,
    "INTEGRATION_TIMEOUT": _UNAVAILABLE,
    "INVALID_API_KEY": _FORBIDDEN,
    "INVALID_SIGNATURE": _UNAUTHORIZED,
    # An unknown path or method: the gateway takes it for a call that should have been signed.
    "MISSING_AUTHENTICATION_TOKEN": _NOT_FOUND,
    "QUOTA_EXCEEDED": _TOO_MANY,
    "REQUEST_TOO_LARGE": (413, "too-large", "Too large", "The body has more than 10 MB."),
    "RESOURCE_NOT_FOUND": _NOT_FOUND,
    "THROTTLED": _TOO_MANY,
    "UNAUTHORIZED": _UNAUTHORIZED,
    "UNSUPPORTED_MEDIA_TYPE": (
        415,
        "unsupported-media-type",
        "Unsupported media type",
        "Bodies are application/json.",
    ),
    "WAF_FILTERED": _FORBIDDEN,
}
_RETRY_SECONDS = "2"
# No path and no header: they carry devices' keys and tokens.
_ACCESS_LOG = {
    "request_id": "$context.requestId",
    "time": "$context.requestTimeEpoch",
    "address": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "route": "$context.resourcePath",
    "status": "$context.status",
    "response_bytes": "$context.responseLength",
    "latency_ms": "$context.responseLatency",
    "gateway_error": "$context.error.responseType",
}


def responses() -> dict[str, Any]:
    """The OpenAPI extension `x-amazon-apigateway-gateway-responses`."""
    return {name: _response(*told) for name, told in RESPONSES.items()}


def _response(status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    document = {"type": f"urn:sinfonia:problem:{kind}", "title": title, "status": status, "detail": detail}
    headers = {"Content-Type": "application/problem+json"}
    if status in {429, 503}:
        headers["Retry-After"] = _RETRY_SECONDS
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return {
        "statusCode": str(status),
        "responseParameters": {
            f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items()
        },
        "responseTemplates": {"application/json": json.dumps(document)},
    }


def api_properties() -> dict[str, Any]:
    """What is added to the API that Chalice makes."""
    return {
        "DefinitionBody": {"x-amazon-apigateway-gateway-responses": responses()},
        "MethodSettings": [
            {
                "ResourcePath": "/*",
                "HttpMethod": "*",
                "ThrottlingRateLimit": {"Ref": "CallsPerSecond"},
                "ThrottlingBurstLimit": {"Ref": "CallsAtOnce"},
            }
        ],
        "AccessLogSetting": {
            "Fn::If": [
                "HasAccessLog",
                {"DestinationArn": {"Fn::GetAtt": ["AccessLog", "Arn"]}, "Format": json.dumps(_ACCESS_LOG)},
                {"Ref": "AWS::NoValue"},
            ]
        },
    }


def resources() -> dict[str, Any]:
    """The access log, and the role by which API Gateway writes logs in this account and region."""
    return {
        "AccessLog": {
            "Type": "AWS::Logs::LogGroup",
            "Condition": "HasAccessLog",
            # With it the stage, which can log only when the account has the role.
            "DependsOn": ["GatewayAccount"],
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"RetentionInDays": {"Ref": "LogDays"}},
        },
        "GatewayLogRole": {
            "Type": "AWS::IAM::Role",
            "Condition": "HasAccessLog",
            # The account's setting goes on naming it when the stack is gone.
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": "apigateway.amazonaws.com"},
                            "Action": "sts:AssumeRole",
                        }
                    ],
                },
                "ManagedPolicyArns": [
                    {
                        "Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/"
                        "AmazonAPIGatewayPushToCloudWatchLogs"
                    }
                ],
            },
        },
        "GatewayAccount": {
            "Type": "AWS::ApiGateway::Account",
            "Condition": "HasAccessLog",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {"CloudWatchRoleArn": {"Fn::GetAtt": ["GatewayLogRole", "Arn"]}},
        },
    }
