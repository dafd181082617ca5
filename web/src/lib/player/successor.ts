/**
 * The final version of a film, made ready in a second video element behind the one that plays.
 * The rules are handover.ts; this is their driver. Enter at `tick`, called often.
 */
import { Engine, type EngineEvents } from './engine';
import { LEAD_S, mayPrepare, meeting } from './handover';
import { bufferedAhead } from './horizon';

const AGAIN_AFTER_MS = 5000;

export interface Incumbent {
  engine: Engine;
  url: string;
  complete: boolean;
  playingInstant: boolean;
  duration_s: number;
}

export class Successor {
  private engine: Engine | null = null;
  private loaded = false;
  private completeSince_ms: number | null = null;
  private notBefore_ms = 0;
  private starting = false;

  constructor(
    private readonly makeVideo: () => HTMLVideoElement,
    private readonly makeEvents: (engine: () => Engine | null) => EngineEvents,
    private readonly takeOver: (next: Engine) => void,
  ) {}

  tick(current: Incumbent, now_ms: number): void {
    const { video } = current.engine;
    if (document.pictureInPictureElement === video) return;
    if (current.complete) this.completeSince_ms ??= now_ms;
    if (this.engine) {
      if (this.loaded) this.meet(current, this.engine);
      return;
    }
    const verdict = mayPrepare({
      complete: current.complete && now_ms >= this.notBefore_ms,
      playingInstant: current.playingInstant,
      preparing: false,
      paused: video.paused,
      seeking: video.seeking,
      ahead_s: bufferedAhead(current.engine.buffered, video.currentTime),
      waited_s: (now_ms - (this.completeSince_ms ?? now_ms)) / 1000,
    });
    if (verdict.choice) void this.prepare(current);
  }

  /** Forget what was being prepared. */
  async drop(): Promise<void> {
    const { engine } = this;
    this.engine = null;
    this.loaded = false;
    engine?.video.remove();
    await engine?.destroy();
  }

  private async prepare(current: Incumbent): Promise<void> {
    const video = this.makeVideo();
    video.muted = true;
    const engine: Engine = new Engine(
      video,
      this.makeEvents(() => (this.engine === engine ? null : engine)),
    );
    this.engine = engine;
    const playing = current.engine.video;
    try {
      await engine.load(current.url, playing.currentTime + (playing.paused ? 0 : LEAD_S * 2));
      video.playbackRate = playing.playbackRate;
      this.loaded = this.engine === engine;
    } catch {
      this.notBefore_ms = Date.now() + AGAIN_AFTER_MS;
      if (this.engine === engine) await this.drop();
    }
  }

  private meet(current: Incumbent, next: Engine): void {
    const playing = current.engine.video;
    const waiting = next.video;
    if (this.starting) return;
    const choice = meeting({
      paused: playing.paused,
      playing_s: playing.currentTime,
      waiting_s: waiting.currentTime,
      ahead_s: bufferedAhead(next.buffered, waiting.currentTime),
      seeking: playing.seeking || waiting.seeking,
      left_s: current.duration_s - waiting.currentTime,
    });
    if (choice === 'place again') waiting.currentTime = playing.currentTime + (playing.paused ? 0 : LEAD_S);
    if (choice === 'hand over') void this.start(playing, next);
  }

  private async start(playing: HTMLVideoElement, next: Engine): Promise<void> {
    this.starting = true;
    try {
      if (!playing.paused) await next.video.play();
      if (this.engine !== next) return;
      this.engine = null;
      this.loaded = false;
      this.takeOver(next);
    } catch {
      this.notBefore_ms = Date.now() + AGAIN_AFTER_MS;
      await this.drop();
    } finally {
      this.starting = false;
    }
  }
}
