import { describe, expect, it } from 'vitest';
import type { Title } from '../api/types';
import { clock, length, percent, share, size, spoken } from './measures';
import { badge, hue, quality, resumes, seenFraction, sentence } from './titles';

const film: Title = {
  id: 't', title: 'T', description: '', state: 'complete', progress: 1, uploaded_bytes: 0, size_bytes: 0,
  duration_s: 100, width: 1920, height: 1080, fps: 24, rungs: [], subtitles: [], failure: null, poster: null,
  hls: null, dash: null, created_at: '', updated_at: '', sample: false, position_s: 40,
}; // prettier-ignore

describe('measures', () => {
  it('read as people say them', () => {
    expect([clock(0), clock(61.9), clock(3661), clock(-3), clock(NaN), clock(Infinity)]).toEqual([
      '0:00', '1:01', '1:01:01', '0:00', '0:00', '0:00',
    ]); // prettier-ignore
    expect([length(35), length(120), length(3720), length(7200)]).toEqual([
      '35 s',
      '2 min',
      '1 h 2 min',
      '2 h',
    ]);
    expect(spoken(3601)).toBe('1 hour 1 second');
    expect([size(999), size(1400), size(2.5e9), size(123e6)]).toEqual([
      '999 B',
      '1.4 kB',
      '2.5 GB',
      '123 MB',
    ]);
  });
  it('never round up to done', () => {
    expect(percent(0.999)).toBe('99 %');
    expect(percent(2)).toBe('100 %');
    expect([share(0.4133), share(-1)]).toEqual(['41.3%', '0.0%']);
  });
});

describe('a title', () => {
  it('that is complete needs no badge, any other says where it is', () => {
    expect(badge(film)).toBeNull();
    expect(badge({ ...film, state: 'playable', progress: 0.42 })).toBe('Watchable · 42 %');
    expect(badge({ ...film, state: 'uploading', uploaded_bytes: 1, size_bytes: 4 })).toBe('Uploading 25 %');
    expect(badge({ ...film, state: 'uploading' })).toBe('Uploading 0 %');
  });
  it('that failed says what happened', () => {
    const failure = { code: 'c', what: 'It is text.', why: '', hint: '' };
    expect(sentence({ ...film, state: 'failed', failure })).toBe('It is text.');
  });
  it('resumes from the middle only', () => {
    expect(resumes(film)).toBe(true);
    expect(resumes({ ...film, position_s: 0 })).toBe(false);
    expect(resumes({ ...film, position_s: 98 })).toBe(false);
    expect(seenFraction(film)).toBe(0.4);
    expect(seenFraction({ ...film, duration_s: null })).toBe(0);
  });
  it('has a quality and a hue', () => {
    expect(quality(film)).toBe('1080p');
    expect(quality({ ...film, height: null })).toBeNull();
    expect(hue('abc')).toBe(hue('abc'));
  });
});
