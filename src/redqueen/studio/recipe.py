"""The argument lists that make FFmpeg encode. Pure; every flag has its reason here.

Video is cut by output frame index: after the `fps` filter a frame's time, in frames, is its index,
because input times are kept (`-copyts`) and the film's zero is subtracted. So a chunk is the same
bytes wherever the input was entered. Enter at `video`, `blank` and `audio`.
Source: FFmpeg's manual (ffmpeg, ffmpeg-filters fps/trim/tpad, movenc movflags), x264 --fullhelp.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from redqueen.studio import untrusted
from redqueen.studio.model import AudioTrack, Chunk, Facts, Plan, Rung
from redqueen.studio.rates import timescale

AUDIO_RATE_HZ = 48_000
AUDIO_BPS = 128_000
AUDIO_FRAME = 1024
AUDIO_FRAGMENT_S = 2


class Entry(StrEnum):
    """Where the input is entered, from cheap to sure; `mend` repeats pictures where the film has none."""

    NEAR = "near"
    FAR = "far"
    START = "start"
    MEND = "mend"


_LEAD_S = {Entry.NEAR: Fraction(1, 2), Entry.FAR: Fraction(30), Entry.MEND: Fraction(60)}
_QUIET = ("-hide_banner", "-nostdin", "-y", "-v", "error")
_PURE = (
    *("-map_metadata", "-1", "-map_chapters", "-1"),  # nothing of the maker's machine goes out
    *("-fflags", "+bitexact"),  # no versions and dates in the bytes
)
_FRAGMENTED = (
    # A moov without samples, a fragment for each key frame, times that count from the film's start
    # (frag_discont) and no edit list: composition offsets may be negative instead (CMAF cmf2).
    *("-movflags", "+frag_keyframe+empty_moov+default_base_moof+frag_discont+negative_cts_offsets+skip_trailer"),
    *("-use_editlist", "0", "-avoid_negative_ts", "disabled"),
)


def video(engine: Path, plan: Plan, rung: Rung, chunk: Chunk, film: Path, output: Path, entry: Entry) -> list[str]:
    """Encode one chunk of one rung into a fragmented MP4."""
    facts = plan.facts
    return [
        *(str(engine), *_QUIET, *untrusted.MAX_ALLOC, *untrusted.INPUT_OPTIONS),
        *("-threads", "2"),  # of the decoder; the bytes do not depend on it
        *_seek(facts, chunk, entry),
        *("-copyts", "-i", f"file:{film}"),
        *("-map", f"0:{facts.video_index}", "-an", "-sn", "-dn"),
        *("-filter:v", _filters(facts, rung, chunk, entry)),
        *_encoder(plan, rung),
        *("-f", "mp4", str(output)),
    ]


def blank(engine: Path, plan: Plan, rung: Rung, chunk: Chunk, output: Path) -> list[str]:
    """Encode a chunk of black, for a part of the film in which no picture can be decoded."""
    rate = plan.facts.rate
    source = f"color=c=black:s={rung.width}x{rung.height}:r={rate}"
    filters = f"trim=end_pts={chunk.frames},setpts=PTS+{chunk.start},format=yuv420p,setsar=1"
    return [
        *(str(engine), *_QUIET, "-f", "lavfi", "-i", source, "-filter:v", filters),
        *_encoder(plan, rung),
        *("-f", "mp4", str(output)),
    ]


def _seek(facts: Facts, chunk: Chunk, entry: Entry) -> list[str]:
    if entry is Entry.START:
        return []
    at = facts.zero.exact + chunk.start / facts.rate.exact - _LEAD_S[entry]
    if at <= facts.zero.exact:
        return []
    # seek_timestamp: `-ss` is on the source's own clock; noaccurate_seek: keep the frames from the key
    # frame on, the fps filter needs the one before the cut and drops the others.
    return ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{float(at):.6f}"]


def _filters(facts: Facts, rung: Rung, chunk: Chunk, entry: Entry) -> str:
    steps = ["bwdif=mode=send_frame:deint=interlaced"] if facts.interlaced else []
    if facts.zero.num:
        steps.append(f"setpts=PTS-({facts.zero})/TB")
    first = chunk.start == 0
    if first or entry is Entry.MEND:
        # Without a picture exactly at the start the next one is shown from there on.
        steps.append(f"fps={facts.rate}:start_time={float(chunk.start / facts.rate.exact):.9f}")
    else:
        steps.append(f"fps={facts.rate}")
    if entry is Entry.MEND:
        steps.append("tpad=stop=-1:stop_mode=clone")
    steps.append(f"trim=start_pts={chunk.start}:end_pts={chunk.end}")
    return ",".join([*steps, *_shaped(facts, rung), "format=yuv420p", "setsar=1"])


def _shaped(facts: Facts, rung: Rung) -> list[str]:
    size = f"scale={rung.width}:{rung.height}:flags=bicubic"
    if not facts.hdr:
        return [f"{size}:in_color_matrix={_matrix(facts)}{_TO_HD}"]
    # High dynamic range on ordinary screens: linear light, other primaries, highlights rolled off. After
    # scaling, because it costs by the pixel.
    return [
        *(f"{size}:in_color_matrix=bt2020:out_color_matrix=bt2020", "format=yuv420p10le"),
        f"zscale=tin={facts.hdr}:min=2020_ncl:pin=2020:rin=limited:t=linear:npl=100",
        *("format=gbrpf32le", "zscale=p=709", "tonemap=hable:desat=0"),
        "zscale=t=709:m=709:r=limited",
    ]


_TO_HD = ":out_color_matrix=bt709:out_range=tv"


def _matrix(facts: Facts) -> str:
    rgb = facts.pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal8"))
    return "auto" if rgb else facts.matrix


def _encoder(plan: Plan, rung: Rung) -> list[str]:
    gop, rate = plan.gop, plan.facts.rate
    return [
        *("-fps_mode", "passthrough"),  # the filter has made the frames exact; add and drop none
        *("-c:v", "libx264", "-preset", rung.preset, "-crf", str(rung.crf)),
        *("-maxrate", str(rung.bitrate_bps), "-bufsize", str(rung.bitrate_bps * 3 // 2)),
        *("-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0"),  # GOPs of one length, on every rung
        *("-x264-params", "open-gop=0:b-pyramid=0"),  # closed; one frame of reordering at most
        *("-threads", str(plan.threads)),  # x264's output depends on it, so it is fixed by the plan
        *("-flags", "+bitexact"),
        *("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"),
        *("-bsf:v", "filter_units=remove_types=6"),  # no SEI: it only names the encoder
        *("-video_track_timescale", str(timescale(rate.exact))),
        *_PURE,
        *_FRAGMENTED,
    ]


def audio(engine: Path, facts: Facts, track: AudioTrack, film: Path, output: Path) -> list[str]:
    """Encode the whole sound as stereo AAC-LC into a fragmented MP4 that grows by 2 s fragments."""
    samples = round(facts.duration_s * AUDIO_RATE_HZ)
    steps = [f"asetpts=PTS-({facts.zero})/TB"] if facts.zero.num else []
    steps += [
        # Gaps become silence and the sound begins at frame 0, whatever the container says.
        f"aresample={AUDIO_RATE_HZ}:async=1:first_pts=0",
        "aformat=sample_fmts=fltp:channel_layouts=stereo",
        f"apad=whole_len={samples}",
        # AAC delays by one frame; players that ignore edit lists would show that. Leaving out the first
        # 1024 samples and keeping no edit list puts every sample at its true time in all players.
        f"atrim=start_sample={AUDIO_FRAME}:end_sample={max(samples, 2 * AUDIO_FRAME)}",
        "asetpts=PTS-STARTPTS",
    ]
    return [
        *(str(engine), *_QUIET, *untrusted.MAX_ALLOC, *untrusted.INPUT_OPTIONS),
        # A burst for the first viewers, then well ahead of any picture: the cores are for that.
        *("-readrate", "12", "-readrate_initial_burst", "30"),
        *("-copyts", "-vn", "-sn", "-dn", "-i", f"file:{film}", "-map", f"0:{track.index}"),
        *("-filter:a", ",".join(steps)),
        *("-c:a", "aac", "-b:a", str(AUDIO_BPS), "-ac", "2", "-threads", "1", "-flags", "+bitexact"),
        *_PURE,
        *("-use_editlist", "0", "-avoid_negative_ts", "make_zero"),
        *("-movflags", "+empty_moov+default_base_moof+skip_trailer"),
        *("-frag_duration", str(AUDIO_FRAGMENT_S * 1_000_000), "-flush_packets", "1"),  # segments while it runs
        *("-f", "mp4", str(output)),
    ]


def poster(engine: Path, facts: Facts, film: Path, output: Path, at_s: float, seek: bool = True) -> list[str]:
    """Take the most typical of 50 pictures from `at_s` seconds on as a JPEG at most 1280 wide."""
    scale = f"scale='min(1280,{facts.width})':-2:in_color_matrix={_matrix(facts)}:out_color_matrix=bt601:out_range=pc"
    steps = ["bwdif=mode=send_frame:deint=interlaced"] if facts.interlaced else []
    shape = f"scale={facts.width}:{facts.height}:flags=bicubic"
    place = ["-ss", f"{at_s:.3f}"] if seek and at_s > 0 else []
    return [
        *(str(engine), *_QUIET, *untrusted.MAX_ALLOC, *untrusted.INPUT_OPTIONS, *place),
        *("-i", f"file:{film}", "-map", f"0:{facts.video_index}", "-an", "-sn", "-dn"),
        *("-filter:v", ",".join([*steps, "thumbnail=50", scale if facts.width > 1280 else shape, "format=yuvj420p"])),
        *("-frames:v", "1", "-update", "1", "-q:v", "3", "-flags", "+bitexact", *_PURE),
        *("-f", "image2", str(output)),
    ]
