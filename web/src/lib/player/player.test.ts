import { describe, expect, it } from 'vitest';
import { captionLines, cuesAt, parseVtt } from './cues';
import { mayPrepare, meeting, type MeetFacts, type PrepareFacts } from './handover';
import {
  bufferedAhead,
  chooseSeek,
  endOf,
  playlistEnd,
  shownDuration,
  startPosition,
  type Film,
} from './horizon';
import { recover, troubleOf, unstick } from './recovery';
import { worthSaving } from './remembering';
import { commandOf, nextSpeed } from './shortcuts';

const growing: Film = { duration_s: 600, horizon_s: 60, growing: true };

describe('a growing film', () => {
  it('shows its whole length, not the encoded part', () => {
    expect(shownDuration(growing)).toBe(600);
    expect(shownDuration({ ...growing, duration_s: null })).toBe(60);
    expect(shownDuration({ ...growing, growing: false })).toBe(60);
  });
  it('is as long as its playlists say, where picture and sound both are there', () => {
    expect(playlistEnd('#EXTM3U\n#EXTINF:2.005,\n0.m4s\n#EXTINF:2,\n1.m4s\n')).toBeCloseTo(4.005);
    expect(playlistEnd('#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlo.m3u8')).toBeNull();
    expect(endOf([{ end_s: 8, seen_ms: 90_000 }, { end_s: 6, seen_ms: 91_000 }, { end_s: 2, seen_ms: 0 }])).toBe(6); // prettier-ignore
    expect(endOf([])).toBeNull();
  });
  it('leads a seek past its horizon to a little before it', () => {
    expect(chooseSeek(growing, 300, 10)).toEqual({ at_s: 57, because: 'not encoded yet' });
    expect(chooseSeek(growing, 30, 10)).toEqual({ at_s: 30, because: 'as asked' });
    expect(chooseSeek(growing, -5, 10).at_s).toBe(0);
  });
  it('never answers a wish to go on by going back', () => {
    expect(chooseSeek(growing, 64, 59).at_s).toBe(59);
    expect(chooseSeek(growing, 58, 59).at_s).toBe(58);
  });
});

describe('a whole film', () => {
  const whole: Film = { duration_s: 100, horizon_s: 100.5, growing: false };
  it('is sought freely, and its end is just before its end', () => {
    expect(chooseSeek(whole, 99, 0).because).toBe('as asked');
    expect(chooseSeek(whole, 500, 0).at_s).toBeCloseTo(100.45);
  });
  it('starts where it was left, or anew when it had ended', () => {
    expect(startPosition(63.25, 100)).toBe(63.25);
    expect(startPosition(99, 100)).toBe(0);
    expect(startPosition(NaN, 100)).toBe(0);
    expect(startPosition(63, null)).toBe(63);
  });
  it('knows what is buffered ahead', () => {
    const spans = [{ from_s: 0, to_s: 10 }, { from_s: 20, to_s: 30 }]; // prettier-ignore
    expect([bufferedAhead(spans, 4), bufferedAhead(spans, 15), bufferedAhead(spans, 19.95)]).toEqual([
      6, 0, 10.05,
    ]);
  });
});

describe('the final version', () => {
  const facts: PrepareFacts = {
    complete: true, playingInstant: true, preparing: false, paused: false, seeking: false, ahead_s: 20, waited_s: 0,
  }; // prettier-ignore
  it('is prepared when the buffer allows, at a pause, or after some patience', () => {
    expect(mayPrepare(facts).choice).toBe(true);
    expect(mayPrepare({ ...facts, ahead_s: 1 }).choice).toBe(false);
    expect(mayPrepare({ ...facts, ahead_s: 1, paused: true }).choice).toBe(true);
    expect(mayPrepare({ ...facts, ahead_s: 1, waited_s: 11 }).choice).toBe(true);
  });
  it('is not prepared in vain, twice, or into a seek', () => {
    expect(mayPrepare({ ...facts, complete: false }).choice).toBe(false);
    expect(mayPrepare({ ...facts, playingInstant: false }).choice).toBe(false);
    expect(mayPrepare({ ...facts, preparing: true }).choice).toBe(false);
    expect(mayPrepare({ ...facts, seeking: true, paused: true }).choice).toBe(false);
  });
  const meet: MeetFacts = {
    paused: false,
    playing_s: 10,
    waiting_s: 10.01,
    ahead_s: 8,
    seeking: false,
    left_s: 90,
  };
  it('takes over at the same instant, with enough ahead', () => {
    expect(meeting(meet)).toBe('hand over');
    expect(meeting({ ...meet, waiting_s: 10.4 })).toBe('wait');
    expect(meeting({ ...meet, ahead_s: 1 })).toBe('wait');
    expect(meeting({ ...meet, ahead_s: 0.8, left_s: 1 })).toBe('hand over');
  });
  it('is placed again when the film has run past it or elsewhere', () => {
    expect(meeting({ ...meet, playing_s: 11 })).toBe('place again');
    expect(meeting({ ...meet, waiting_s: 70 })).toBe('place again');
    expect(meeting({ ...meet, paused: true, waiting_s: 10.5 })).toBe('place again');
    expect(meeting({ ...meet, paused: true })).toBe('hand over');
    expect(meeting({ ...meet, seeking: true })).toBe('wait');
  });
});

describe('recovery', () => {
  it('has minutes for the network and a few attempts for the rest', () => {
    let total_ms = 0;
    for (let n = 0; ; n++) {
      const next = recover('network', n);
      if (next.action === 'tell') break;
      total_ms += next.after_ms;
    }
    expect(total_ms).toBeGreaterThan(120_000);
    expect(recover('media', 3).action).toBe('again');
    expect(recover('media', 4).action).toBe('tell');
  });
  it('first nudges a film that stands still, then loads it again, but never one that waits for the studio', () => {
    const still = { waiting: true, starved: false, still_s: 9 };
    expect(unstick(still)).toBe('reload');
    expect(unstick({ ...still, still_s: 3 })).toBe('nudge');
    expect(unstick({ ...still, still_s: 1 })).toBe('wait');
    expect(unstick({ ...still, starved: true })).toBe('wait');
    expect(unstick({ ...still, waiting: false })).toBe('wait');
  });
  it('knows a lost right from a lost server', () => {
    expect(troubleOf(1, 403)).toBe('right');
    expect(troubleOf(1, 503)).toBe('network');
    expect(troubleOf(3, null)).toBe('media');
  });
});

describe('remembering', () => {
  const last = { position_s: 10, at_ms: 0 };
  it('saves every five seconds, and at once at a pause, a seek or a farewell', () => {
    expect(worthSaving(last, 12, 2000, 'tick')).toBe(false);
    expect(worthSaving(last, 15, 5000, 'tick')).toBe(true);
    expect(worthSaving(last, 12, 2000, 'pause')).toBe(true);
    expect(worthSaving(last, 10.1, 9000, 'leave')).toBe(false);
  });
});

describe('keys', () => {
  it('ask for what players have taught', () => {
    expect(commandOf(' ', 'page')).toEqual({ do: 'toggle' });
    expect(commandOf('K', 'page')).toEqual({ do: 'toggle' });
    expect(commandOf('7', 'seek')).toEqual({ do: 'part', fraction: 0.7 });
    expect(commandOf('ArrowLeft', 'seek')).toEqual({ do: 'skip', by_s: -5 });
    expect(commandOf('x', 'page')).toBeNull();
  });
  it('are left to what has the focus', () => {
    expect(commandOf(' ', 'button')).toBeNull();
    expect(commandOf('ArrowUp', 'volume')).toBeNull();
    expect(commandOf('ArrowDown', 'menu')).toBeNull();
  });
  it('change the speed by steps', () => {
    expect([nextSpeed(1, 1), nextSpeed(1, -1), nextSpeed(2, 1), nextSpeed(0.5, -1)]).toEqual([
      1.25, 0.75, 2, 0.5,
    ]);
  });
});

describe('subtitles', () => {
  const cues = parseVtt(
    'WEBVTT\r\n\r\nNOTE hi\r\n\r\n1\r\n00:01.000 --> 00:03.500 line:0\r\n<i>One</i> &amp; only\r\n\r\n' +
      '00:00:03.000 --> 00:00:05.000\nTwo\nlines\n\nbroken --> 1\nx\n',
  );
  it('are read and shown at their time', () => {
    expect(cues).toHaveLength(2);
    expect(cuesAt(cues, 0.5)).toEqual([]);
    expect(cuesAt(cues, 3.2).map((cue) => cue.from_s)).toEqual([1, 3]);
    expect(cuesAt(cues, 5)).toEqual([]);
  });
  it('keep italics and lines, and never become HTML', () => {
    expect(captionLines('<i>One</i> &amp; only')).toEqual([
      [{ text: 'One', italic: true, bold: false }, { text: ' & only', italic: false, bold: false }],
    ]); // prettier-ignore
    expect(captionLines('a\n<c.red>b</c> &lt;img&gt;')).toHaveLength(2);
    expect(
      captionLines('a\n<c.red>b</c> &lt;img&gt;')[1]
        ?.map((part) => part.text)
        .join(''),
    ).toBe('b <img>');
  });
});
