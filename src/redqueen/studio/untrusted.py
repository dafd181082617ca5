"""How engines are told to read a file that a stranger sent. Pure.

Only local files, only containers and codecs that films come in, bounded streams, pixels and
allocations. Playlists, concat lists, subtitles-as-video and network addresses are refused by
FFmpeg itself because they are on no list. Enter at `INPUT_OPTIONS`; `SCAN_OPTIONS` is for ffprobe.
Source: FFmpeg's manual, `protocol_whitelist`, `format_whitelist`, `codec_whitelist`.
"""

from __future__ import annotations

FORMATS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm"),
    *("mpegts", "mpeg", "avi", "flv", "asf", "ogg", "mxf", "dv", "ivf"),
)
VIDEO_CODECS = (
    *("h264", "hevc", "vp8", "vp9", "libvpx-vp9", "av1", "libdav1d", "libaom-av1", "vvc"),
    *("mpeg4", "mpeg2video", "mpeg1video", "msmpeg4v2", "msmpeg4", "h263", "flv", "theora"),
    *(
        "prores",
        "dnxhd",
        "mjpeg",
        "ffv1",
        "huffyuv",
        "rawvideo",
        "vc1",
        "wmv1",
        "wmv2",
        "wmv3",
        "dvvideo",
        "qtrle",
        "png",
    ),
)
AUDIO_CODECS = (
    *(
        "aac",
        "aac_fixed",
        "mp3",
        "mp3float",
        "mp2",
        "mp2float",
        "ac3",
        "ac3_fixed",
        "eac3",
        "opus",
        "libopus",
        "vorbis",
    ),
    *("flac", "alac", "dca", "truehd", "wmav1", "wmav2", "wmapro", "amrnb", "amrwb", "adpcm_ima_wav", "adpcm_ms"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw"),
    *("pcm_s16le_planar", "pcm_bluray", "pcm_dvd", "pcm_f32be", "pcm_f64le", "pcm_s8"),
)
TEXT_CODECS = ("mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text")
MAX_STREAMS = 64
MAX_PIXELS = 8192 * 4320
MAX_SIDE = 16_384

INPUT_OPTIONS = (
    *("-protocol_whitelist", "file"),
    *("-format_whitelist", ",".join(FORMATS)),
    *("-codec_whitelist", ",".join(VIDEO_CODECS + AUDIO_CODECS + TEXT_CODECS)),
    *("-max_streams", str(MAX_STREAMS)),
    *("-max_pixels", str(MAX_PIXELS)),
)
"""Options that go before `-i` of a stranger's file, for ffmpeg and ffprobe alike."""

SCAN_OPTIONS = (*INPUT_OPTIONS, *("-probesize", "20000000"), *("-analyzeduration", "8000000"))
"""The same, with bounds on how far ffprobe looks for streams (bytes, microseconds)."""

MAX_ALLOC = ("-max_alloc", str(1 << 30))
"""No single allocation over 1 GiB (a global option)."""
