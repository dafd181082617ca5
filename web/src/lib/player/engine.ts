/**
 * One video element played by Shaka Player: loading, buffering, qualities, and what is encoded so far.
 *
 * It hides two facts. A growing film is an EVENT playlist, which Shaka takes for a live broadcast; here it
 * always starts where it is told. And servers die: Shaka retries, then is told to go on, again and again;
 * only what retries cannot cure is reported, through `onTrouble`.
 */
import shaka from 'shaka-player/dist/shaka-player.hls-es2021.js';
import { endOf, playlistEnd, spansOf, type PlaylistEnd, type Span } from './horizon';
import { troubleOf, type Trouble } from './recovery';

export interface Quality {
  height: number;
  bitrate_bps: number;
}

export interface EngineEvents {
  onTrouble: (trouble: Trouble, because: string) => void;
  onTracks: () => void;
  /** What the film's requests say of themselves (CMCD); null: nothing. */
  identity?: () => { session: string; title: string; token: string } | null;
  /** The lines of the rung to begin with, at most; 0: what the player estimates. */
  startRung?: () => number;
}

/** Where the player tells by CMCD what it does; see docs. */
const CMCD_EVENTS = '/telemetry/v1/cmcd';

// Short, nearly even pauses: a dead server is replaced within a second or two, and a viewer waits for each.
const RETRY = {
  maxAttempts: 8,
  baseDelay: 200,
  backoffFactor: 1.25,
  fuzzFactor: 0.5,
  timeout: 20_000,
  stallTimeout: 6_000,
  connectionTimeout: 5_000,
};

/** What the network is taken to give before anything was measured. */
const ESTIMATE_BPS = 4e6;
/** So much that only the limit of lines decides. */
const PLENTY_BPS = 1e9;

let polyfilled = false;

export class Engine {
  private readonly player = new shaka.Player();
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly ends = new Map<string, PlaylistEnd>();
  private readonly known = new Map<number, Quality>();
  private wish: number | null = null;
  private gone = false;

  constructor(
    readonly video: HTMLVideoElement,
    private readonly events: EngineEvents,
  ) {
    if (!polyfilled) shaka.polyfill.installAll();
    polyfilled = true;
    this.player.configure({
      manifest: {
        retryParameters: RETRY,
        // Subtitles are whole files drawn by the page; the EVENT window is the whole film.
        disableText: true,
        availabilityWindowOverride: Infinity,
        hls: { liveSegmentsDelay: 0, ignoreManifestProgramDateTime: true },
      },
      streaming: {
        retryParameters: RETRY,
        rebufferingGoal: 0.3,
        bufferingGoal: 30,
        bufferBehind: 30,
        lowLatencyMode: false,
        // No quality is banned for a dead server: switching meanwhile leaves holes in the buffer.
        maxDisabledTime: 0,
        safeSeekEndOffset: 0.5,
        failureCallback: (error: unknown) => {
          void error;
          this.goOn();
        },
      },
      abr: {
        useNetworkInformation: false,
        defaultBandwidthEstimate: ESTIMATE_BPS,
        switchInterval: 4,
        // Every start drops some frames; only a device that really cannot follow is given less.
        advanced: { droppedFramesThreshold: 0.3 },
      },
    });
    // What is encoded is read from the playlists themselves: Shaka's own live edge runs on by the clock.
    this.player.getNetworkingEngine()?.registerResponseFilter((type, response) => {
      if (type !== shaka.net.NetworkingEngine.RequestType.MANIFEST) return;
      const text = new TextDecoder().decode(response.data as ArrayBuffer);
      const end_s = playlistEnd(text);
      if (end_s !== null) this.ends.set(response.originalUri, { end_s, seen_ms: Date.now() });
    });
    this.player.addEventListener('error', this.onError);
    for (const name of ['trackschanged', 'variantchanged', 'adaptation', 'manifestupdated']) {
      this.player.addEventListener(name, () => {
        this.fulfil();
        events.onTracks();
      });
    }
  }

  /** Load `url` and be at `start_s`. Raises what Shaka throws; `sorted` says what it means. */
  async load(url: string, start_s: number): Promise<void> {
    this.ends.clear();
    this.known.clear();
    this.introduce();
    this.begin(this.events.startRung?.() ?? 0);
    await this.player.attach(this.video);
    await this.player.load(url, start_s, 'application/x-mpegurl');
  }

  /**
   * Switch on CMCD version 2 (CTA-5004-A) with the session's own id. As headers: in the address they would make
   * every segment new to the browser's cache.
   */
  private introduce(): void {
    const identity = this.events.identity?.();
    if (!identity) return;
    this.player.configure('cmcd', {
      enabled: true,
      version: 2,
      sessionId: identity.session,
      contentId: identity.title,
      useHeaders: true,
      eventTargets: [
        { mode: 'event', enabled: true, url: `${CMCD_EVENTS}?token=${identity.token}`, events: ['ps', 'bc', 'e', 't'], interval: 30, batchSize: 4, includeKeys: [], useHeaders: false }, // prettier-ignore
      ],
    });
  }

  /** Begin with the best rung of at most so many lines; from the first frame on the network decides. */
  private begin(lines: number): void {
    if (lines <= 0) return;
    this.player.configure({
      abr: { restrictions: { maxHeight: lines }, defaultBandwidthEstimate: PLENTY_BPS },
    });
    const freely = () => {
      if (this.gone) return;
      this.player.configure({
        abr: { restrictions: { maxHeight: Infinity }, defaultBandwidthEstimate: ESTIMATE_BPS },
      });
    };
    this.video.addEventListener('playing', freely, { once: true });
  }

  /** Whether the playlist still grows. */
  get growing(): boolean {
    return this.player.isDynamic();
  }

  /** The end of the encoded part, in seconds: the last segment known, which no clock can run past. */
  get horizon_s(): number {
    const range = this.player.seekRange();
    if (!this.player.isDynamic()) return range.end;
    return endOf([...this.ends.values()]) ?? range.end;
  }

  get buffered(): Span[] {
    return spansOf(this.video.buffered);
  }

  /**
   * The qualities of what is loaded, best first, one for each height. Also those that Shaka set aside for a
   * while because the device dropped too many of their frames.
   */
  get qualities(): Quality[] {
    for (const track of this.player.getVariantTracks()) {
      const quality = { height: track.height ?? 0, bitrate_bps: track.bandwidth };
      const known = this.known.get(quality.height);
      if (!known || known.bitrate_bps < quality.bitrate_bps) this.known.set(quality.height, quality);
    }
    return [...this.known.values()].sort((a, b) => b.height - a.height);
  }

  /** The height that is being loaded now, or null. */
  get height(): number | null {
    return this.active?.height ?? null;
  }

  /** The rate of what is being loaded now; 0 before anything is. */
  get bitrate_bps(): number {
    return this.active?.bandwidth ?? 0;
  }

  private get active(): shaka.extern.Track | undefined {
    return this.player.getVariantTracks().find((track) => track.active);
  }

  /** Hold one height, or null to let the network decide. */
  choose(height: number | null): void {
    this.wish = height;
    this.player.configure('abr.enabled', height === null);
    this.fulfil();
  }

  /** Ask Shaka to try again whatever it stopped trying. */
  nudge(): void {
    if (!this.gone) this.player.retryStreaming(0.05);
  }

  async destroy(): Promise<void> {
    this.gone = true;
    clearTimeout(this.retryTimer);
    this.player.removeEventListener('error', this.onError);
    await this.player.destroy();
  }

  /** Load the wished height as soon as it can be had. */
  private fulfil(): void {
    if (this.wish === null || this.height === this.wish) return;
    const track = this.player
      .getVariantTracks()
      .filter((candidate) => candidate.height === this.wish)
      .sort((a, b) => b.bandwidth - a.bandwidth)[0];
    if (track) this.player.selectVariantTrack(track, true, 4);
  }

  private goOn(): void {
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => {
      if (!this.gone) this.player.retryStreaming(0.1);
    }, 400);
  }

  private readonly onError = (event: Event) => {
    const error = (event as Event & { detail?: unknown }).detail;
    const [trouble, because, critical] = sorted(error);
    // Network trouble while streaming is the failure callback's, which never gives up.
    if (critical && trouble !== 'network') this.events.onTrouble(trouble, because);
  };
}

/** Sort anything Shaka throws: what kind of trouble, why, and whether playing stopped for it. */
export function sorted(thrown: unknown): [Trouble, string, boolean] {
  if (thrown instanceof shaka.util.Error) {
    const critical = thrown.severity === shaka.util.Error.Severity.CRITICAL;
    const isStatus = thrown.code === shaka.util.Error.Code.BAD_HTTP_STATUS;
    const data = thrown.data as unknown[];
    const status = isStatus && typeof data[1] === 'number' ? data[1] : null;
    const because =
      status === null
        ? `Player error ${String(thrown.code)}.`
        : `The film answered with status ${String(status)}.`;
    return [troubleOf(thrown.category, status), because, critical];
  }
  return ['media', thrown instanceof Error ? thrown.message : String(thrown), true];
}

/** Whether this browser can play films at all. */
export function supported(): boolean {
  return shaka.Player.isBrowserSupported();
}
