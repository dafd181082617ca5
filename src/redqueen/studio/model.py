"""The studio's values: what a film is, what is made of it, and how far that has come.

Everything here is frozen and can be written as JSON and read back. Frame rates and the film's zero
point are exact rationals, because all cuts are made by frame index. Enter at `Facts` and `Plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Ratio:
    """An exact rational that JSON can hold."""

    num: int
    den: int

    @property
    def exact(self) -> Fraction:
        """Return the same number as a Fraction."""
        return Fraction(self.num, self.den)

    @classmethod
    def of(cls, value: Fraction) -> Ratio:
        """Make one from a Fraction."""
        return cls(value.numerator, value.denominator)

    def __str__(self) -> str:
        return f"{self.num}/{self.den}"


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The audio stream that is encoded: its index in the file, codec, channels, language (BCP 47 or `und`)."""

    index: int
    codec: str
    channels: int
    language: str


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """A text subtitle stream inside the film."""

    index: int
    codec: str
    language: str
    label: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What probing found out about a film."""

    container: str
    size_bytes: int
    codec: str
    pixel_format: str
    video_index: int
    width: int
    """Pixels as shown: after rotation, with square pixels."""
    height: int
    rate: Ratio
    """Output frames per second; the source's own where that is constant and at most 60."""
    frames: int
    """Output frames."""
    variable: bool
    zero: Ratio
    """Seconds on the source's clock that are frame 0."""
    interlaced: bool = False
    hdr: str = ""
    """The transfer function of a film with high dynamic range (`smpte2084`, `arib-std-b67`), else empty."""
    matrix: str = "bt709"
    audio: AudioTrack | None = None
    texts: tuple[EmbeddedText, ...] = ()

    @property
    def duration_s(self) -> float:
        """Return the length of the output in seconds."""
        return float(self.frames / self.rate.exact)


@dataclass(frozen=True, slots=True)
class Rung:
    """One quality: size in pixels, peak bit rate, and how it is encoded."""

    name: str
    width: int
    height: int
    bitrate_bps: int
    crf: int
    preset: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Output frames start <= n < end, encoded by one job; a whole number of GOPs unless it is the last."""

    index: int
    start: int
    end: int

    @property
    def frames(self) -> int:
        """Return how many frames it has."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    """Subtitles handed in by a person: language tag, label, and the object that holds the raw text."""

    lang: str
    label: str
    key: str


@dataclass(frozen=True, slots=True)
class SubtitleText:
    """Clean WebVTT that is offered to viewers; `path` is relative to `media/<title>/`."""

    lang: str
    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the bytes of a title; `build` is the digest of the rest."""

    build: str
    facts: Facts
    rungs: tuple[Rung, ...]
    """From small to large; the first is the instant rung."""
    gop: int
    """Frames in a closed GOP."""
    threads: int
    """x264 threads: a part of the plan, because the bytes depend on it."""

    @property
    def instant(self) -> Rung:
        """Return the rung that can be watched first."""
        return self.rungs[0]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A moof and its mdat in a fragmented MP4: where it lies, when it starts (ticks), how many samples."""

    offset: int
    size_bytes: int
    start: int
    samples: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A published piece: its path relative to `media/<title>/`, and seconds."""

    path: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """What a finished chunk left: frames, bytes, its codec string, and how the input was entered."""

    frames: int
    size_bytes: int
    init_bytes: int
    codec: str
    how: str


@dataclass(frozen=True, slots=True)
class AudioDone:
    """How far the sound is: fragments that can be played, the samples of each and of the last, whole or not."""

    fragments: int = 0
    samples: int = 0
    last_samples: int = 0
    whole: bool = False
    because: str = ""
    """Why there is no sound, where a film's sound could not be decoded."""


@dataclass(frozen=True, slots=True)
class Done:
    """Everything that has been made of a title so far, by rung name and chunk index."""

    chunks: Mapping[str, Mapping[int, ChunkDone]]
    audio: AudioDone | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """How much of the instant playlists viewers can see."""

    chunks: int = 0
    fragments: int = 0
    sound: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a title cannot be made: the four parts of every error."""

    code: str
    what: str
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Title:
    """What the studio remembers about a title from its submission on."""

    title_id: str
    source_key: str
    state: str = "waiting"
    """waiting, encoding, complete or failed."""
    subtitles: tuple[SubtitleTrack, ...] = ()
    plan: Plan | None = None
    enqueued: int = 0
    """Jobs of the plan that have been put in the queue."""
    failure: Failure | None = None
    submitted_at: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RungProgress:
    """How far one rung is: 0 to 1."""

    name: str
    height: int
    bitrate_bps: int
    progress: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a title is: the whole as 0 to 1 by work, and each rung."""

    fraction: float
    rungs: tuple[RungProgress, ...] = field(default=())
