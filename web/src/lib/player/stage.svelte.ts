/**
 * One sitting: a title being watched, whatever happens to servers meanwhile. It owns the video element,
 * keeps what the controls show, remembers the position, recovers from trouble, and lets the final version
 * take over from the instant one. Decisions are in horizon, handover, recovery and remembering.
 * Enter at `follow` (each answer of the playback API) and `close`.
 */
import { playback } from '../api/client';
import { askIdentity } from '../api/identity.svelte';
import type { Playback, SubtitleTrack } from '../api/types';
import { Witness } from '../telemetry/witness';
import { cuesOf } from './captions';
import { captionLines, cuesAt, type CaptionPart, type Cue } from './cues';
import { Engine, sorted, supported, type EngineEvents, type Quality } from './engine';
import { chooseSeek, shownDuration, startPosition, type Film, type Span } from './horizon';
import { keepPreferences, readPreferences } from './preferences';
import { FORGIVEN_AFTER_S, recover, unstick, type Trouble } from './recovery';
import { worthSaving, type Moment, type Saved } from './remembering';
import { Successor } from './successor';

const TICK_MS = 60;
const NOTICE_MS = 4500;

export class Stage {
  ready = $state(false);
  playing = $state(false);
  wantsToPlay = $state(true);
  buffering = $state(true);
  ended = $state(false);
  time_s = $state(0);
  film = $state<Film>({ duration_s: null, horizon_s: 0, growing: false });
  buffered = $state.raw<Span[]>([]);
  volume = $state(1);
  muted = $state(false);
  /** Sound was switched off by the browser, not by the viewer. */
  silenced = $state(false);
  rate = $state(1);
  qualities = $state.raw<Quality[]>([]);
  height = $state<number | null>(null);
  chosenHeight = $state<number | null>(null);
  subtitles = $state.raw<SubtitleTrack[]>([]);
  captions = $state('');
  lines = $state.raw<CaptionPart[][]>([]);
  notice = $state('');
  broken = $state<{ what: string; why: string; hint: string } | null>(null);
  complete = $state(false);

  readonly duration_s = $derived(shownDuration(this.film));
  readonly starved = $derived(
    this.buffering && this.film.growing && this.film.horizon_s - this.time_s < 1.5 && this.ready,
  );

  private engine: Engine | null = null;
  private url = '';
  private playingInstant = false;
  private loading = false;
  private attempts = 0;
  private playedSince_ms = 0;
  private life = { at_s: -1, buffered_s: -1, changed_ms: 0, nudged_ms: 0 };
  private saved: Saved = { position_s: 0, at_ms: 0 };
  private cues: readonly Cue[] = [];
  private shownCues = '';
  private noticeTimer: ReturnType<typeof setTimeout> | undefined;
  private againTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly ticker: ReturnType<typeof setInterval>;
  private readonly closing = new AbortController();
  private readonly successor: Successor;
  private readonly witness: Witness;
  /** Since when the viewer waits for the first frame, by the steady clock. */
  private asked_ms = performance.now();

  constructor(
    private readonly id: string,
    private readonly host: HTMLElement,
  ) {
    this.witness = new Witness(id);
    const liked = readPreferences();
    this.volume = liked.volume;
    this.muted = liked.muted;
    this.captions = liked.captions;
    this.successor = new Successor(
      () => this.makeVideo(),
      (engine) => this.eventsOf(engine),
      (next) => {
        this.change(next);
      },
    );
    this.ticker = setInterval(() => {
      this.tick();
    }, TICK_MS);
    const { signal } = this.closing;
    addEventListener(
      'pagehide',
      () => {
        this.remember('leave');
        this.witness.leave();
      },
      { signal },
    );
    document.addEventListener(
      'visibilitychange',
      () => {
        if (!document.hidden) return;
        this.remember('leave');
        this.witness.leave();
      },
      { signal },
    );
  }

  /** Take in what the API says now; the first playable answer starts the film. */
  follow(facts: Playback): void {
    this.film.duration_s = facts.duration_s;
    this.complete = facts.complete;
    if (facts.subtitles.length !== this.subtitles.length || this.subtitles.length === 0) {
      this.subtitles = facts.subtitles;
      if (this.captions) void this.loadCaptions();
    }
    // Waiting for the studio is no delay of the player's: it counts from when there is something to play.
    if (facts.hls === null) this.asked_ms = performance.now();
    if (facts.hls === null || this.engine) return;
    if (!supported()) {
      this.broken = {
        what: 'This browser cannot play films.',
        why: 'It has no Media Source Extensions.',
        hint: 'Use a current Firefox, Chrome, Edge or Safari; or copy the play link into VLC.',
      };
      return;
    }
    this.url = facts.hls;
    this.playingInstant = !facts.complete;
    const start_s = startPosition(facts.position_s, facts.duration_s);
    this.saved = { position_s: start_s, at_ms: Date.now() };
    this.time_s = start_s;
    const engine: Engine = new Engine(
      this.makeVideo(),
      this.eventsOf(() => engine),
    );
    this.adopt(engine);
    this.witness.ask(this.asked_ms);
    void this.witness.granted().then(() => this.open(start_s));
  }

  /** What is needed to play could not be had: it is told, and tried again by whoever asks. */
  missed(because: string): void {
    this.witness.ask(this.asked_ms);
    this.witness.saw({ what: 'error', because });
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    this.wantsToPlay = true;
    if (this.ended) this.seek(0);
    if (this.ready) void this.begin();
  }

  pause(): void {
    this.wantsToPlay = false;
    this.engine?.video.pause();
  }

  seek(wish_s: number): void {
    if (!this.engine || !this.ready) return;
    const choice = chooseSeek(this.film, wish_s, this.time_s);
    if (choice.because === 'not encoded yet') {
      this.say('That part is not encoded yet. Here is the newest part that is ready.');
    }
    this.ended = false;
    this.time_s = choice.at_s;
    this.engine.video.currentTime = choice.at_s;
  }

  setVolume(volume: number): void {
    this.volume = Math.min(1, Math.max(0, volume));
    this.setMuted(this.volume === 0);
  }

  setMuted(muted: boolean): void {
    this.muted = muted;
    this.silenced = false;
    if (!muted && this.volume === 0) this.volume = 0.5;
    if (this.engine) this.applySound(this.engine.video);
    this.keep();
  }

  setRate(rate: number): void {
    this.rate = rate;
    if (this.engine) this.engine.video.playbackRate = rate;
  }

  choose(height: number | null): void {
    this.chosenHeight = height;
    this.engine?.choose(height);
  }

  setCaptions(lang: string): void {
    this.captions = lang;
    this.keep();
    void this.loadCaptions();
  }

  async pictureInPicture(): Promise<void> {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await this.engine?.video.requestPictureInPicture();
  }

  /** After a clear error: start over at the same position. */
  tryAgain(): void {
    this.attempts = 0;
    this.broken = null;
    void this.open(this.time_s);
  }

  say(notice: string): void {
    clearTimeout(this.noticeTimer);
    this.notice = notice;
    this.noticeTimer = setTimeout(() => (this.notice = ''), NOTICE_MS);
  }

  close(): void {
    this.remember('leave');
    this.witness.close();
    this.closing.abort();
    clearInterval(this.ticker);
    clearTimeout(this.noticeTimer);
    clearTimeout(this.againTimer);
    void this.successor.drop();
    const { engine } = this;
    this.engine = null;
    engine?.video.remove();
    void engine?.destroy();
  }

  private keep(): void {
    keepPreferences({ volume: this.volume, muted: this.muted, captions: this.captions });
  }

  private makeVideo(): HTMLVideoElement {
    const video = document.createElement('video');
    video.playsInline = true;
    video.preload = 'auto';
    video.tabIndex = -1;
    this.host.prepend(video);
    return video;
  }

  private eventsOf(engine: () => Engine | null): EngineEvents {
    const isCurrent = () => this.engine !== null && this.engine === engine();
    return {
      onTrouble: (trouble, because) => {
        if (isCurrent() && !this.loading) this.meetTrouble(trouble, because);
      },
      onTracks: () => {
        if (isCurrent()) this.readTracks();
      },
      identity: () =>
        this.witness.id === null
          ? null
          : { session: this.witness.id, title: this.id, token: this.witness.token },
      startRung: () => this.witness.startRung,
    };
  }

  private adopt(engine: Engine): void {
    this.engine = engine;
    const { video } = engine;
    video.dataset['testid'] = 'video';
    video.classList.add('current');
    this.applySound(video);
    video.playbackRate = this.rate;
    const on = (name: keyof HTMLVideoElementEventMap, action: () => void) => {
      video.addEventListener(
        name,
        () => {
          if (this.engine === engine && !this.loading) action();
        },
        { signal: this.closing.signal },
      );
    };
    on('playing', () => {
      this.playing = true;
      this.buffering = false;
      this.ended = false;
      this.witness.saw({ what: 'playing' });
    });
    on('seeking', () => {
      this.witness.saw({ what: 'resting' });
    });
    on('play', () => {
      this.playing = true;
    });
    on('pause', () => {
      this.playing = false;
      this.remember('pause');
      this.witness.saw({ what: 'resting' });
    });
    on('waiting', () => {
      this.buffering = true;
      this.playedSince_ms = 0;
      // A seek makes everybody wait; that is no stall.
      if (!video.seeking) this.witness.saw({ what: 'waiting' });
    });
    on('canplay', () => {
      this.buffering = false;
    });
    on('seeked', () => {
      this.time_s = video.currentTime;
      this.buffering = video.readyState < 3;
      this.remember('seek');
    });
    on('ended', () => {
      this.ended = true;
      this.playing = false;
      this.remember('pause');
    });
  }

  private applySound(video: HTMLVideoElement): void {
    video.volume = this.volume;
    video.muted = this.muted || this.silenced;
  }

  private async open(start_s: number): Promise<void> {
    const { engine } = this;
    if (!engine) return;
    this.loading = true;
    this.buffering = true;
    try {
      await engine.load(this.url, start_s);
      if (this.engine !== engine) return;
      this.loading = false;
      this.ready = true;
      this.broken = null;
      if (this.chosenHeight !== null) engine.choose(this.chosenHeight);
      engine.video.playbackRate = this.rate;
      this.readTracks();
      if (this.wantsToPlay) await this.begin();
      else this.buffering = false;
      if (!this.wantsToPlay) this.witness.saw({ what: 'shown' });
    } catch (thrown) {
      if (this.engine !== engine) return;
      const [trouble, because] = sorted(thrown);
      this.meetTrouble(trouble, because);
    }
  }

  /** Start playing; where the browser refuses sound before a touch, without it; else wait for the touch. */
  private async begin(): Promise<void> {
    const video = this.engine?.video;
    if (!video) return;
    try {
      await video.play();
    } catch (thrown) {
      if (!(thrown instanceof DOMException) || thrown.name !== 'NotAllowedError') return;
      this.silenced = !this.muted;
      video.muted = true;
      await video.play().catch(() => {
        this.wantsToPlay = false;
        this.silenced = false;
        this.applySound(video);
        this.buffering = false;
      });
    }
  }

  private meetTrouble(trouble: Trouble, because: string): void {
    const decision = recover(trouble, this.attempts);
    this.witness.saw({ what: 'error', because });
    this.witness.saw({ what: 'waiting' });
    this.loading = true;
    this.buffering = true;
    if (decision.action === 'tell') {
      this.broken = {
        what: 'The film stopped and could not be started again.',
        why: because,
        hint: 'Your place is kept. Try again in a moment.',
      };
      return;
    }
    this.attempts++;
    clearTimeout(this.againTimer);
    this.againTimer = setTimeout(() => void this.again(trouble), decision.after_ms);
  }

  private async again(trouble: Trouble): Promise<void> {
    if (trouble === 'right') await askIdentity().catch(() => undefined);
    if (!this.closing.signal.aborted) await this.open(this.time_s);
  }

  /** The final version takes over where the instant one is. */
  private change(next: Engine): void {
    const old = this.engine;
    this.playingInstant = false;
    this.adopt(next);
    this.time_s = next.video.currentTime;
    this.playing = !next.video.paused;
    this.buffering = false;
    this.witness.saw({ what: this.playing ? 'playing' : 'resting' });
    if (this.chosenHeight !== null) next.choose(this.chosenHeight);
    this.readTracks();
    if (!old) return;
    delete old.video.dataset['testid'];
    old.video.muted = true;
    old.video.pause();
    old.video.classList.remove('current');
    setTimeout(() => {
      old.video.remove();
      void old.destroy();
    }, 250);
  }

  private readTracks(): void {
    if (!this.engine) return;
    this.qualities = this.engine.qualities;
    this.height = this.engine.height;
    this.witness.saw({ what: 'quality', bitrate_bps: this.engine.bitrate_bps });
  }

  private tick(): void {
    const { engine } = this;
    if (!engine || !this.ready || this.loading) return;
    if (!engine.video.seeking) this.time_s = engine.video.currentTime;
    this.film.growing = engine.growing;
    this.film.horizon_s = engine.horizon_s;
    this.buffered = engine.buffered;
    this.watchOver(engine, Date.now());
    this.forgive();
    this.showCaptions();
    this.remember('tick');
    const { url, complete, playingInstant, duration_s } = this;
    this.successor.tick({ engine, url, complete, playingInstant, duration_s }, Date.now());
  }

  /** No player stands still for long: what Shaka gave up without a word is tried again. */
  private watchOver(engine: Engine, now_ms: number): void {
    const at_s = engine.video.currentTime;
    const buffered_s = this.buffered.at(-1)?.to_s ?? 0;
    if (at_s !== this.life.at_s || buffered_s !== this.life.buffered_s) {
      this.life = { at_s, buffered_s, changed_ms: now_ms, nudged_ms: now_ms };
    }
    const choice = unstick({
      waiting: engine.video.readyState < 3 && !engine.video.ended,
      starved: this.starved,
      still_s: (now_ms - this.life.changed_ms) / 1000,
    });
    if (choice === 'nudge' && now_ms - this.life.nudged_ms > 1000) {
      this.life.nudged_ms = now_ms;
      engine.nudge();
    }
    if (choice === 'reload') {
      this.life.changed_ms = now_ms;
      void this.open(this.time_s);
    }
  }

  private forgive(): void {
    if (!this.playing || this.buffering) return;
    this.playedSince_ms ||= Date.now();
    if (Date.now() - this.playedSince_ms > FORGIVEN_AFTER_S * 1000) this.attempts = 0;
  }

  private remember(moment: Moment): void {
    if (!this.ready || !worthSaving(this.saved, this.time_s, Date.now(), moment)) return;
    this.saved = { position_s: this.time_s, at_ms: Date.now() };
    void playback
      .save(this.id, Math.round(this.time_s * 1000) / 1000, moment === 'leave')
      .catch(() => undefined);
  }

  private async loadCaptions(): Promise<void> {
    const track = this.subtitles.find((one) => one.lang === this.captions);
    this.cues = [];
    if (!track) return;
    try {
      const cues = await cuesOf(track.url);
      if (this.captions === track.lang) this.cues = cues;
    } catch {
      this.say('The subtitles could not be loaded. Choose them again to retry.');
    }
  }

  private showCaptions(): void {
    const shown = cuesAt(this.cues, this.time_s);
    const key = shown.map((cue) => `${String(cue.from_s)} ${cue.text}`).join('\n');
    if (key === this.shownCues) return;
    this.shownCues = key;
    this.lines = shown.flatMap((cue) => captionLines(cue.text));
  }
}
