"""The HTTP filters that a request passes before the router, and their order.

The chain is the same for every request; what a route does not need stays inert there and comes
alive by the route's own settings. Media's filters come first, so that nothing else reads a token.
Enter at `filter_chain`.
"""

from __future__ import annotations

from typing import Any

from redqueen.gateway import media, media_routes, passport, scripts
from redqueen.gateway.arms import arms_filter
from redqueen.gateway.envoy_json import FILTER, TYPE, filter_named

MAX_BODY_BYTES = 4 << 20
COMPRESSED = (
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/markdown",
    "text/csv",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/vnd.api+json",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
)
"""Text, by its type: never media, whose bytes are dense, and never event streams, which must not wait."""
# Empty: a route that sheds brings a filter of its own.
_SHED = filter_named("shed", "filter_chain.v3.FilterChainConfig")


def filter_chain(jwks_json: str) -> list[dict[str, Any]]:
    """Give the chain, in order; an empty `jwks_json` leaves out whatever serves media.

    What serves media is inert here and comes alive only on media's own routes.
    """
    body = filter_named("body", "buffer.v3.Buffer", max_request_bytes=MAX_BODY_BYTES)
    tries = [passport.attempt_log()]
    router = filter_named("router", "router.v3.Router", suppress_envoy_headers=True, upstream_log=tries)
    services = [arms_filter(), filter_named("cors", "cors.v3.Cors"), *_compressors(), _SHED, body]
    if not jwks_json:
        return [*services, router]
    return [
        filter_named("link", "lua.v3.Lua", default_source_code={"inline_string": scripts.LINK_TO_MEDIA}),
        {"name": "token", "typed_config": _token_check(jwks_json)},
        # Its headers are notes to later filters: by default each would have the route chosen anew.
        filter_named("title", "lua.v3.Lua", clear_route_cache=False),
        filter_named("media-headers", "header_mutation.v3.HeaderMutation"),
        *services,
        {"name": "files", "typed_config": media_routes.file_server()},
        router,
    ]


def _compressors() -> list[dict[str, Any]]:
    """Give one filter for each encoding; they agree among themselves which one the client likes best."""
    library = {
        # Quality 3 costs about what gzip does and is smaller.
        "brotli": ("compression.brotli.compressor.v3.Brotli", {"quality": 3}),
        "zstd": ("compression.zstd.compressor.v3.Zstd", {"compression_level": 3}),
        "gzip": ("compression.gzip.compressor.v3.Gzip", {"compression_level": "COMPRESSION_LEVEL_3"}),
    }
    return [
        filter_named(
            name,
            "compressor.v3.Compressor",
            compressor_library={
                "name": name,
                "typed_config": {"@type": f"{TYPE}envoy.extensions.{kind}", **settings},
            },
            response_direction_config={
                "common_config": {
                    # Below this the headers weigh more than what is saved.
                    "min_content_length": 512,
                    "content_type": list(COMPRESSED),
                },
                # An ETag names exact bytes; what is compressed on the way is the same only in meaning.
                "weaken_etag_on_compress": True,
            },
        )
        for name, (kind, settings) in library.items()
    ]


def _token_check(jwks_json: str) -> dict[str, Any]:
    provider = {
        "issuer": media.ISSUER,
        "local_jwks": {"inline_string": jwks_json},
        "from_headers": [{"name": media.TOKEN_HEADER}],
        "from_cookies": [media.COOKIE],
        "payload_in_metadata": "claims",
        "require_expiration": True,
        # The default believes a token for a minute after its end; one machine has one clock.
        "clock_skew_seconds": 5,
        # A player asks for segments with the same token again and again.
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "@type": FILTER + "jwt_authn.v3.JwtAuthentication",
        "providers": {media.ISSUER: provider},
        "requirement_map": {media_routes.REQUIREMENT: {"provider_name": media.ISSUER}},
    }
