import { describe, expect, it } from 'vitest';
import { titleOf } from './naming';
import { speed, timeLeft, withSample, type Sample } from './pace';

describe('the pace of an upload', () => {
  it('is that of the last seconds', () => {
    let samples: Sample[] = [];
    for (let i = 0; i <= 20; i++)
      samples = withSample(samples, { at_ms: i * 1000, sent_bytes: i < 10 ? 0 : (i - 10) * 1e6 });
    expect(speed(samples)).toBeCloseTo(1e6, -5);
    expect(samples.length).toBeLessThan(12);
  });
  it('is not said before it is known', () => {
    expect(speed([])).toBe(0);
    expect(timeLeft(1e9, 0)).toBe('');
  });
  it('says the time left in words that do not flicker', () => {
    expect(timeLeft(3e6, 1e6)).toBe('a few seconds left');
    expect(timeLeft(31e6, 1e6)).toBe('35 s left');
    expect(timeLeft(301e6, 1e6)).toBe('6 min left');
    expect(timeLeft(7200e6, 1e6)).toBe('2.0 h left');
  });
});

describe('the first title of a film', () => {
  it('comes from its file name', () => {
    expect(titleOf('My_film-2024.final.mp4')).toBe('My film 2024 final');
    expect(titleOf('-rf.mkv')).toBe('-rf');
    expect(titleOf('.mp4')).toBe('Untitled');
  });
  it('carries no control or direction marks and has an end', () => {
    expect(titleOf('a\u202eb\u0000c\nd.mp4')).toBe('a b c d');
    expect(titleOf('x'.repeat(4096) + '.mp4')).toHaveLength(120);
  });
});
