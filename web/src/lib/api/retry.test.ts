import { describe, expect, it } from 'vitest';
import { failureFrom } from './failure';
import { isHiccup, nextDelay, ONCE, PATIENT } from './retry';

describe('the retry policy', () => {
  it('tries again over resets and gateway answers, never over a verdict', () => {
    expect([0, 502, 503, 504].every(isHiccup)).toBe(true);
    expect([200, 400, 401, 404, 409, 500].some(isHiccup)).toBe(false);
    expect(nextDelay(PATIENT, 1, 404, 0.5)).toBeNull();
  });
  it('waits longer each time, up to its limit, and then gives up', () => {
    const delays = Array.from({ length: 7 }, (_, i) => nextDelay(PATIENT, i + 1, 503, 0.5) ?? -1);
    expect(delays).toEqual([...delays].sort((a, b) => a - b));
    expect(delays.at(-1)).toBeLessThanOrEqual(2500);
    expect(delays.reduce((a, b) => a + b)).toBeGreaterThan(6000);
    expect(nextDelay(PATIENT, 8, 503, 0.5)).toBeNull();
    expect(nextDelay(ONCE, 1, 0, 0.5)).toBeNull();
  });
  it('spreads clients by its jitter', () => {
    expect(nextDelay(PATIENT, 3, 0, 0)).toBeLessThan(nextDelay(PATIENT, 3, 0, 1) ?? 0);
  });
});

describe('a refusal', () => {
  it('keeps what the API said', () => {
    const said = { code: 'film.empty', what: 'The file is empty.', why: '0 bytes', hint: 'Choose another.' };
    expect(failureFrom(400, said)).toMatchObject({ ...said, status: 400 });
  });
  it('of something else than the API still is a sentence', () => {
    expect(failureFrom(503, 'no healthy upstream').what).toMatch(/did not answer/);
    expect(failureFrom(418, { code: 5 }).code).toBe('http.418');
  });
});
