import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Courier, type Post } from './courier';
import { deviceOf } from './device';
import { Outbox, type Batch, type Shelf } from './outbox';
import { ask, nextBeat, step, type Happening, type PlayerEvent, type Session } from './sums';

type Moment = [number, Happening | Exclude<Happening['what'], 'error' | 'quality'>];

/** Let a session live through what happened when; answers what was told. */
function told(...moments: Moment[]): PlayerEvent[] {
  let session: Session = ask(1000);
  const events: PlayerEvent[] = [];
  for (const [now_ms, what] of moments) {
    const [after, event] = step(session, typeof what === 'string' ? { what } : what, 1000 + now_ms);
    session = after;
    if (event) events.push(event);
  }
  return events;
}

describe('a session', () => {
  it('tells its sums with every event, so that the last one tells everything', () => {
    const events = told(
      [0, 'asked'],
      [200, { what: 'quality', bitrate_bps: 1_000_000 }],
      [800, 'playing'],
      [2800, { what: 'quality', bitrate_bps: 3_000_000 }],
      [4800, 'waiting'],
      [5300, 'playing'],
      [6300, 'end'],
    );
    expect(events.map((event) => event.kind)).toEqual(
      'asked quality first_frame quality stall_begin stall_end end'.split(' '),
    );
    expect(events.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(events.at(-1)).toEqual({
      seq: 7,
      kind: 'end',
      at_ms: 6300,
      delay_ms: 800,
      played_ms: 5000,
      stalled_ms: 500,
      stalls: 1,
      errors: 0,
      bitrate_bps: 3_000_000,
      mean_bitrate_bps: 2_200_000,
      detail: '',
    });
  });
  it('counts a pause and a seek neither as played nor as stalled', () => {
    const last = told([500, 'playing'], [1500, 'resting'], [9500, 'playing'], [10_500, 'beat']).at(-1);
    expect(last).toMatchObject({ played_ms: 2000, stalled_ms: 0, stalls: 0, delay_ms: 500 });
  });
  it('that waits for its first frame does not stall, and has no delay until then', () => {
    const events = told([100, 'waiting'], [200, 'resting'], [5000, 'beat']);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ delay_ms: -1, stalls: 0, stalled_ms: 0, played_ms: 0 });
  });
  it('has begun with a picture that stands, where the browser does not start by itself', () => {
    const events = told([700, 'shown'], [4000, 'playing'], [5000, 'beat']);
    expect(events.map((event) => event.kind)).toEqual(['first_frame', 'heartbeat']);
    expect(events[1]).toMatchObject({ delay_ms: 700, played_ms: 1000 });
  });
  it('keeps an error in the words of the player, short', () => {
    const [event] = told([300, { what: 'error', because: 'x'.repeat(500) }]);
    expect(event).toMatchObject({ kind: 'error', errors: 1, delay_ms: -1 });
    expect(event?.detail).toHaveLength(200);
  });
  it('never says that more was played than time has passed, whatever the clock does', () => {
    const events = told([10.7, 'playing'], [5, 'beat'], [20.9, 'waiting'], [30.2, 'beat']);
    for (const event of events) {
      expect(event.played_ms + event.stalled_ms).toBeLessThanOrEqual(event.at_ms);
      expect(event.delay_ms).toBeLessThanOrEqual(event.at_ms);
    }
  });
  it('is told of more often while a trial judges it', () => {
    const beats = [0];
    while (beats.length < 8) beats.push(nextBeat(beats.at(-1) ?? 0));
    expect(beats).toEqual([0, 5000, 10_000, 15_000, 19_000, 20_000, 40_000, 60_000]);
  });
});

class Board implements Shelf {
  readonly kept = new Map<string, string>();
  keys = () => [...this.kept.keys()];
  read = (key: string) => this.kept.get(key) ?? null;
  write = (key: string, value: string) => void this.kept.set(key, value);
  remove = (key: string) => void this.kept.delete(key);
}

const [event] = told([0, 'asked']) as [PlayerEvent];
const numbered = (seq: number): PlayerEvent => ({ ...event, seq });
const seqs = (batches: Map<string, Batch>) =>
  [...batches.values()].flatMap((one) => one.events.map((e) => e.seq));

describe('the outbox', () => {
  it('gives a page what the page before it could not deliver', () => {
    const shelf = new Board();
    const before = new Outbox(shelf);
    before.add('s1', 'token', numbered(1));
    before.add('s1', 'token', numbered(2));
    const after = new Outbox(shelf);
    after.adopt();
    expect(seqs(after.next())).toEqual([1, 2]);
    after.done(after.next());
    expect(after.empty).toBe(true);
    expect(shelf.kept.size).toBe(0);
  });
  it('forgets only what was acknowledged', () => {
    const outbox = new Outbox(new Board());
    outbox.add('s1', 't', numbered(1));
    const sent = outbox.next();
    outbox.add('s1', 't', numbered(2));
    outbox.done(sent);
    expect(seqs(outbox.next())).toEqual([2]);
  });
  it('is bounded: of too many events the newest stay, and a request fits into a beacon', () => {
    const outbox = new Outbox(new Board());
    for (let seq = 1; seq <= 400; seq++) outbox.add('s1', 't', numbered(seq));
    const sent = seqs(outbox.next());
    expect(sent[0]).toBe(101);
    expect(sent).toHaveLength(100);
    expect(JSON.stringify([...outbox.next().values()]).length).toBeLessThan(60_000);
  });
  it('throws away what it cannot read, and lives without a shelf', () => {
    const shelf = new Board();
    shelf.write('redqueen.told.x', '{broken');
    shelf.write('another', 'kept');
    const outbox = new Outbox(shelf);
    outbox.adopt();
    expect(outbox.empty).toBe(true);
    expect(shelf.keys()).toEqual(['another']);
  });
});

describe('the courier', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  function courierOf(...answers: (number | Post | Error)[]) {
    const bodies: { batches: Batch[] }[] = [];
    const times: number[] = [];
    const outbox = new Outbox(new Board());
    const post = (body: string) => {
      bodies.push(JSON.parse(body) as { batches: Batch[] });
      times.push(Date.now());
      const answer = answers.shift() ?? 204;
      if (answer instanceof Error) return Promise.reject(answer);
      return Promise.resolve(typeof answer === 'number' ? { status: answer, after_ms: 0 } : answer);
    };
    return { courier: new Courier(outbox, post, () => 0.5), outbox, bodies, times };
  }

  it('sends again until it is acknowledged: dead nodes, gateways without one, no network', async () => {
    const { courier, outbox, bodies } = courierOf(new Error('reset'), 503, 502, 500, 404, 204);
    outbox.add('s1', 'token', numbered(1));
    courier.wake();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bodies).toHaveLength(6);
    expect(new Set(bodies.map((body) => JSON.stringify(body))).size).toBe(1);
    expect(outbox.empty).toBe(true);
  });
  it('gathers what happens together into one request, and never has two under way', async () => {
    const { courier, outbox, bodies } = courierOf();
    for (let seq = 1; seq <= 5; seq++) {
      outbox.add('s1', 'token', numbered(seq));
      courier.wake();
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(bodies).toHaveLength(1);
    expect(bodies[0]?.batches[0]?.events).toHaveLength(5);
  });
  it('obeys the wish to wait', async () => {
    const { courier, outbox, times } = courierOf({ status: 429, after_ms: 30_000 });
    outbox.add('s1', 'token', numbered(1));
    courier.wake();
    await vi.advanceTimersByTimeAsync(10_000);
    outbox.add('s1', 'token', numbered(2));
    courier.wake();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(times).toHaveLength(2);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(30_000);
  });
  it('lets a refused session take no other with it', async () => {
    const { courier, outbox, bodies } = courierOf(400, 400, 204);
    outbox.add('bad', 'forged', numbered(1));
    outbox.add('good', 'token', numbered(2));
    courier.wake();
    await vi.advanceTimersByTimeAsync(5000);
    expect(bodies.map((body) => body.batches.map((one) => one.token))).toEqual([
      ['forged', 'token'],
      ['forged'],
      ['token'],
    ]);
    expect(outbox.empty).toBe(true);
  });
  it('keeps what a beacon took, for a beacon acknowledges nothing', () => {
    const { courier, outbox } = courierOf();
    outbox.add('s1', 'token', numbered(1));
    const sent: string[] = [];
    courier.part((body) => sent.push(body) > 0);
    expect(sent).toHaveLength(1);
    expect(outbox.empty).toBe(false);
  });
});

describe('a device', () => {
  it('is of the class that its browser tells', () => {
    expect(deviceOf('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140')).toBe('desktop');
    expect(deviceOf('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148')).toBe('mobile');
    expect(deviceOf('Mozilla/5.0 (Linux; Android 15; Pixel 9) Mobile')).toBe('mobile');
    expect(deviceOf('Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) TV Safari')).toBe('tv');
    expect(deviceOf('Lavf/61.7')).toBe('other');
  });
});
