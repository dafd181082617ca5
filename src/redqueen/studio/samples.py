"""Sample films that the product makes by its own code, so that a new region has something to watch.

Each is drawn by FFmpeg's own generators: nothing is downloaded and nobody's rights are touched. They are
540p, 20 to 24 s, with sound and subtitles, and cost a few seconds of one core. Enter at `make_sample`.
Source: FFmpeg's manual, ffmpeg-filters, video and audio sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from redqueen.errors import Broken
from redqueen.processes import Confinement, run
from redqueen.studio.engines import Engines, find
from redqueen.studio.workbench import said

_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One subtitle: seconds from and to, and what is said."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A film's recipe: names for people, FFmpeg's graphs for picture and sound, seconds, subtitles."""

    key: str
    title: str
    description: str
    picture: str
    sound: str
    duration_s: int
    lines: tuple[Line, ...]


def _chord(*tones: float, beat: float = 0.25) -> str:
    # Soft partials that swell out of step, a little different on each side.
    parts = [f"0.09*sin(2*PI*{hz}*t)*(0.6+0.4*sin(2*PI*{beat + n * 0.03:.2f}*t))" for n, hz in enumerate(tones)]
    left, right = "+".join(parts), "+".join(reversed([part.replace("0.4*sin", "0.4*cos") for part in parts]))
    return f"aevalsrc='{left}|{right}':s=12000,aresample=48000"  # low tones need few samples to be drawn


SAMPLES: tuple[Sample, ...] = (
    Sample(
        "looking-glass",
        "Through the Looking Glass",
        "A slow fall into the edge of the Mandelbrot set, where every corner opens into another country.",
        "mandelbrot=s=480x270:r=20:start_scale=1.6:end_scale=0.0004:end_pts=500:maxiter=190:bailout=6:"
        "start_x=-0.743643887:start_y=-0.131825904:inner=mincol:outer=normalized_iteration_count,"
        "format=gray,gblur=sigma=0.7,lutyuv=y='mod(val+40,256)',pseudocolor=preset=magma,"
        "vignette=PI/4.6,scale=960:540:flags=fast_bilinear,format=yuv420p",
        _chord(110, 164.81, 220, 277.18, 329.63),
        24,
        (
            Line(0.8, 4, "However far we run, the edge stays as far away."),
            Line(5.6, 9.6, "Every corner turns into another corner."),
            Line(11.2, 15.2, "It takes all the running you can do,"),
            Line(15.6, 19.2, "to keep in the same place."),
            Line(20.8, 23.6, "<i>Shall we look behind the next leaf?</i>"),
        ),
    ),
    Sample(
        "garden",
        "The Garden of Live Flowers",
        "Conway's Game of Life, seeded by chance and left to bloom, fade and bloom again.",
        "life=s=320x180:r=12:mold=14:ratio=0.34:seed=1871:life_color=#ffd7e8:death_color=#b0125b:mold_color=#12213f,"
        "scale=640:360:flags=bicubic,format=gbrp,split[a][b];[b]gblur=sigma=7:steps=1[g];"
        "[a][g]blend=all_mode=screen:all_opacity=0.8,vignette=PI/4.6,"
        "scale=960:540:flags=fast_bilinear,format=yuv420p,fps=24",
        _chord(146.83, 220, 293.66, 369.99, 440, beat=0.4),
        22,
        (
            Line(0.8, 3.9, "Each flower counts its neighbours."),
            Line(4.7, 8.2, "Two or three, and it lives on."),
            Line(9.4, 12.6, "Too few, and it is lonely. Too many, and it is crowded out."),
            Line(14.1, 17.3, "Nobody leads them."),
            Line(18.5, 21.6, "Look how they manage."),
        ),
    ),
    Sample(
        "red-shift",
        "Red Shift",
        "Slow weather of crimson, gold and midnight blue. Nothing happens, beautifully.",
        "gradients=s=320x180:r=24:c0=#2b0a3d:c1=#b3123b:c2=#ff7a3d:c3=#ffd27a:c4=#0b1d4d:nb_colors=5:"
        "type=radial:speed=0.024:seed=42:duration=24:x0=60:y0=150:x1=300:y1=20,"
        "gblur=sigma=2:steps=1,vignette=PI/4.6,scale=960:540:flags=fast_bilinear,format=yuv420p",
        _chord(98, 146.83, 196, 246.94, 293.66, beat=0.15),
        24,
        (
            Line(1.6, 4.8, "Morning, somewhere."),
            Line(7.2, 10.4, "Evening, somewhere else."),
            Line(13.6, 17.2, "The light has been on its way for a long time."),
            Line(20, 23.2, "<i>It is only just arriving.</i>"),
        ),
    ),
    Sample(
        "rule-110",
        "Rule 110",
        "A line of cells and one small rule: out of it grows everything that can be computed.",
        "cellauto=s=213x120:r=24:rule=110:random_seed=11:random_fill_ratio=0.5:scroll=1:full=0,"
        "format=gbrp,lutrgb=r='if(gt(val,127),255,12)':g='if(gt(val,127),190,16)':b='if(gt(val,127),80,46)',"
        "scale=640:360:flags=neighbor,split[a][b];[b]gblur=sigma=5:steps=1[g];"
        "[a][g]blend=all_mode=screen:all_opacity=0.5,vignette=PI/4.6,scale=960:540:flags=fast_bilinear,format=yuv420p",
        _chord(130.81, 196, 261.63, 311.13, 392, beat=0.5),
        20,
        (
            Line(0.8, 4.2, "A cell looks left, looks right, looks at itself."),
            Line(5.4, 9.2, "Then it decides. That is all it ever does."),
            Line(10.8, 14.6, "And yet: gliders, collisions, memory."),
            Line(15.8, 19.2, "Enough to compute anything at all."),
        ),
    ),
    Sample(
        "lace",
        "The Lace of Doctor Sierpiński",
        "A flight over lace whose holes have holes: an edge without end, and no area at all.",
        "sierpinski=s=640x360:r=24:type=triangle:seed=9:jump=90,format=gbrp,"
        "lutrgb=r='20+val*0.9':g='8+val*0.55':b='52+val*0.3',split[a][b];[b]gblur=sigma=6:steps=1[g];"
        "[a][g]blend=all_mode=screen:all_opacity=0.6,hue=h='8*t',vignette=PI/4.4,"
        "scale=960:540:flags=fast_bilinear,format=yuv420p",
        _chord(123.47, 185, 246.94, 311.13, 369.99, beat=0.3),
        20,
        (
            Line(0.8, 3.8, "Take a triangle. Take away its middle."),
            Line(5, 8.5, "Do the same to all that is left."),
            Line(10, 13.1, "Never stop."),
            Line(14.6, 18.8, "Now it weighs nothing, and goes on for ever."),
        ),
    ),
    Sample(
        "white-rabbit",
        "The White Rabbit's Test Card",
        "A clock, bars and a beep on each second: to see at once whether picture and sound keep time.",
        "testsrc2=s=960x540:r=25,hue=s=0.85",
        "aevalsrc='if(lt(mod(t\\,1)\\,0.06)\\,0.25*sin(2*PI*880*t)\\,0)|if(lt(mod(t\\,1)\\,0.06)\\,0.25*sin(2*PI*880*t)\\,0)'"
        ":s=48000",
        20,
        (
            Line(0, 4, "Oh dear! Oh dear! I shall be too late!"),
            Line(5, 9, "The beep should come with each new second."),
            Line(11, 15, "If it does not, somebody has moved the clocks."),
        ),
    ),
)


def srt(lines: Sequence[Line]) -> bytes:
    """Write subtitles as SubRip, as a person would upload them."""
    blocks = [
        f"{number}\n{_stamp(line.start_s)} --> {_stamp(line.end_s)}\n{line.text}\n"
        for number, line in enumerate(lines, start=1)
    ]
    return "\n".join(blocks).encode()


def _stamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{round((seconds - whole) * 1000):03d}"


def command(engine: Path, sample: Sample, output: Path) -> list[str]:
    """List the arguments that draw a sample."""
    fades = f"fade=t=in:d=1,fade=t=out:st={sample.duration_s - 1.5}:d=1.5,format=yuv420p,setsar=1"
    quiet = f"afade=t=in:d=1.5,afade=t=out:st={sample.duration_s - 2}:d=2"
    return [
        *(str(engine), "-hide_banner", "-nostdin", "-y", "-v", "error"),
        *("-filter_complex", f"{sample.picture},{fades}[v];{sample.sound},{quiet}[a]", "-map", "[v]", "-map", "[a]"),
        *("-t", str(sample.duration_s)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "24", "-g", "60", "-threads", "2"),
        *("-c:a", "aac", "-b:a", "160k", "-flags", "+bitexact", "-fflags", "+bitexact"),
        *("-metadata:s:a:0", "language=eng", "-movflags", "+faststart", str(output)),
    ]


async def make_sample(sample: Sample, folder: Path, engines: Engines | None = None) -> tuple[Path, bytes]:
    """Draw a sample film into `folder`; return its path and its English subtitles as SubRip. Raises Broken."""
    engines = engines or find()
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    folder = Path(await anyio.Path(folder).resolve())
    output = folder / f"{sample.key}.mp4"
    argv = command(engines.ffmpeg, sample, output)
    done = await run(argv, timeout_s=_TIMEOUT_S, limits=Confinement(write=(folder,)))
    if done.exit_code != 0:
        raise Broken(
            "studio.sample", f"The sample {sample.title!r} could not be made", why=said(done), hint="Report it"
        )
    return output, srt(sample.lines)
