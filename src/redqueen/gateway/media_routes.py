"""Media's own part of the route table: one route opens the folder and demands the token.

So no spelling of a path can have one without the other. What is not exactly a media path, or not a
reading method, is answered here and never reaches a service. Enter at `media_routes`, `file_server`.
"""

from __future__ import annotations

from typing import Any

from redqueen.gateway import media, player_log
from redqueen.gateway.envoy_json import FILTER, TYPE, header, method
from redqueen.gateway.media_script import ETAG_HEADER, MODIFIED_HEADER, media_script

REQUIREMENT = "media-token"
FILE_POOL = {"id": "media", "thread_pool": {"thread_count": 2}}
COMPRESSORS = ("brotli", "zstd", "gzip")
SERVICES_ONLY = ("cors", *COMPRESSORS, "shed", "body")
"""Filters that have nothing to do with files. Each would pass every piece of 32 KiB on: a tenth of the cost."""
MEDIA_ONLY = ("link", "token", "title", "media-headers", "files")
"""Filters that have nothing to do with services."""
LEFT_OUT = {"@type": TYPE + "envoy.config.route.v3.FilterConfig", "disabled": True}
"""For these routes a filter is not made, not merely inert."""
_LEAN = dict.fromkeys(SERVICES_ONLY, LEFT_OUT)
_BY_LINK = {"name": media.TOKEN_HEADER, "present_match": True}
# The right lies in the link itself and no cookie is looked at: any page's player may read it.
_ANY_ORIGIN = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": ", ".join(("range", *player_log.HEADERS)),
    "access-control-expose-headers": "content-length, content-range, etag",
}

# Else a player that sends headers asks before every segment: browsers forget after five seconds.
_ASK_RARELY = header("access-control-max-age", "7200")


def media_routes(media_root: str, has_keys: bool) -> list[dict[str, Any]]:
    """Give media's part of the table; without keys every media path answers 503."""
    if not has_keys:
        return _no_media()
    readable: list[dict[str, Any]] = []
    for cache_control in media.cache_classes():
        pattern = media.path_pattern(cache_control)
        readable.append(_media_route(pattern, cache_control, media_root, by_link=True))
        readable.append(_media_route(pattern, cache_control, media_root, by_link=False))
    anywhere = {"safe_regex": {"regex": "/(?:media|v)/.*"}}
    allow = header("allow", "GET, HEAD, OPTIONS")
    return [
        *readable,
        {
            "match": {**anywhere, "headers": [method("OPTIONS"), _BY_LINK]},
            "direct_response": {"status": 204},
            "response_headers_to_add": [allow, _ASK_RARELY, *(header(*pair) for pair in _ANY_ORIGIN.items())],
        },
        {
            "match": {**anywhere, "headers": [method("OPTIONS")]},
            "direct_response": {"status": 204},
            "response_headers_to_add": [allow],
        },
        {
            "match": {**anywhere, "headers": [{**method("GET|HEAD"), "invert_match": True}]},
            "direct_response": {"status": 405},
            "response_headers_to_add": [allow],
        },
        {
            "match": {"safe_regex": {"regex": "/(?:media|v)(?:/.*)?"}},
            "direct_response": {"status": 404},
            # A link is this route's until its script has run, and its filters are chosen before that.
            "typed_per_filter_config": _LEAN,
        },
    ]


def _no_media() -> list[dict[str, Any]]:
    return [{"match": {"safe_regex": {"regex": "/(?:media|v)(?:/.*)?"}}, "direct_response": {"status": 503}}]


def _media_route(pattern: str, cache_control: str, media_root: str, *, by_link: bool) -> dict[str, Any]:
    headers = [method("GET|HEAD"), *([_BY_LINK] if by_link else [])]
    return {
        "match": {"safe_regex": {"regex": pattern}, "headers": headers},
        # The file server answers before the router is asked; this is what is left if it does not.
        "direct_response": {"status": 404},
        "typed_per_filter_config": {
            **_LEAN,
            "token": {"@type": FILTER + "jwt_authn.v3.PerRouteConfig", "requirement_name": REQUIREMENT},
            "title": {
                "@type": FILTER + "lua.v3.LuaPerRoute",
                "source_code": {"inline_string": media_script(media_root, grows=cache_control == media.CHANGING)},
            },
            "media-headers": {
                "@type": FILTER + "header_mutation.v3.HeaderMutationPerRoute",
                "mutations": {"response_mutations": _media_headers(cache_control, by_link=by_link)},
            },
            "files": {**file_server(), "path_mappings": [_mapping(media_root)]},
        },
    }


def _media_headers(cache_control: str, *, by_link: bool) -> list[dict[str, Any]]:
    # Refusals bring their own cache-control: it is only added where there is none.
    wanted = {
        "cache-control": cache_control,
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        # Empty, and then left out, where the script did not come so far.
        "etag": f"%REQ({ETAG_HEADER})%",
        "last-modified": f"%REQ({MODIFIED_HEADER})%",
    }
    if by_link:
        wanted |= _ANY_ORIGIN
    return [{"append": {**header(name, value), "append_action": "ADD_IF_ABSENT"}} for name, value in wanted.items()]


def file_server() -> dict[str, Any]:
    """Give the file server without any folder: what the chain holds for all other routes."""
    return {
        "@type": FILTER + "file_server.v3.FileServerConfig",
        "manager_config": FILE_POOL,
        "content_types": {kind.extension: kind.content_type for kind in media.MEDIA_TYPES},
        "default_content_type": "application/octet-stream",
    }


def _mapping(media_root: str) -> dict[str, str]:
    return {"request_path_prefix": "/media/", "file_path_prefix": f"{media_root}/"}
