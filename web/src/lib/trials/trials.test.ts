import { describe, expect, it } from 'vitest';
import type { MetricShown, Trace, TrialRecord } from '../api/trial-types';
import { clipped, courseOf, heightOf } from './course';
import {
  allowedAlarms,
  counted,
  effectOf,
  evidence,
  gistOf,
  interval,
  isOver,
  leftOf,
  part,
  progress,
  standing,
  subjectOf,
  titleOf,
  whatNow,
} from './words';

const metric: MetricShown = {
  arm: 'canary',
  name: 'start_failures',
  words: 'plays that never showed a first frame',
  unit: 'sessions',
  device: '',
  guardrail: true,
  difference: false,
  margin: 2,
  treatment: [12, 4035],
  control: [80, 9000],
  estimate: 1.84,
  low: 0.9,
  high: 3.2,
  log_e_harm: Math.log(12),
  log_e_safe: 0,
  needed_log_e: Math.log(20),
  harmed: false,
  safe: false,
  missing: '',
};
const delay: MetricShown = { ...metric, name: 'play_delay', difference: true, margin: Math.log(1.15), estimate: Math.log(1.2) }; // prettier-ignore
const played: MetricShown = { ...metric, name: 'played', difference: true, margin: -1, estimate: -0.4 };

const record: TrialRecord = {
  trial: {
    id: 'api-r2',
    subject: 'release',
    target: 'api',
    owner: '',
    because: '',
    layer: '',
    treatments: [],
  },
  status: 'running',
  because: '',
  since_s: 0,
  started_s: 1000,
  ended_s: 0,
  step: 0,
  share: 0.05,
  look: 3,
  winner: '',
  guilty: [],
  log_e_harm: {},
  metrics: [metric],
  dropped: [],
  notes: [],
  turn: 3,
  alarms: [],
  alarms_ever: 0,
};

describe('a metric', () => {
  it('is told as a factor, also where it is judged by a difference of logs', () => {
    expect(effectOf(metric, 1.84)).toBe('×1.84');
    expect(effectOf(delay, delay.estimate)).toBe('×1.20');
    expect(effectOf(played, played.estimate)).toBe('−0.40');
    expect(effectOf(metric, null)).toBe('–');
  });
  it('has an interval that is open where nothing is known', () => {
    expect(interval(metric)).toBe('×0.90 to ×3.20');
    expect(interval({ ...metric, high: null })).toBe('from ×0.90');
    expect(interval({ ...metric, low: 0 })).toBe('up to ×3.20');
    expect(interval({ ...metric, low: null, high: null })).toBe('anything');
  });
  it('says how many were counted', () => {
    expect(counted(metric, metric.treatment)).toBe('12 of 4,035 sessions (0.30\u00a0%)');
    expect(counted(delay, [99, 4035])).toBe('4,035 sessions');
    expect(counted(metric, [0, 0])).toBe('0 of 0 sessions');
  });
  it('stands somewhere', () => {
    expect(standing(metric)).toBe('open');
    expect(standing({ ...metric, safe: true })).toBe('safe');
    expect(standing({ ...metric, safe: true, harmed: true })).toBe('harmed');
    expect(standing({ ...metric, guardrail: false })).toBe('watched');
  });
  it('has a name without signs', () => {
    expect(titleOf('play_delay:device:tv', 'tv')).toBe('play delay, tv');
    expect(titleOf('play_delay:tail')).toBe('play delay, slow ones');
  });
});

describe('evidence', () => {
  it('is shown as it is while it is small, by its size when it is not', () => {
    expect([-9, Math.log(0.3), Math.log(12.4), Math.log(43_000), 60].map(evidence)).toEqual([
      '0',
      '0.30',
      '12',
      '43,000',
      '10^26',
    ]);
  });
  it('grows towards what is needed', () => {
    expect(progress(-1, 3)).toBe(0);
    expect(progress(1.5, 3)).toBe(0.5);
    expect(progress(9, 3)).toBe(1);
  });
});

describe('a trial', () => {
  it('says what it tries, on how many, for how long', () => {
    expect(subjectOf(record.trial)).toBe('release of api');
    expect(part(0.05)).toBe('5 %');
    expect(part(0.125)).toBe('12.5 %');
    expect(leftOf(record, 1600)).toBe('50 min left');
    expect(leftOf({ ...record, status: 'promoted' }, 1600)).toBe('');
    expect(isOver({ ...record, status: 'promoted' })).toBe(true);
    expect(isOver({ ...record, status: 'held' })).toBe(false);
  });
  it('of nothing may be wrong as often as it promised', () => {
    expect(allowedAlarms(record)).toBeCloseTo(0.2);
  });
});

const trace: Trace = {
  rows: [
    ['canary', 'start_failures'],
    ['canary', 'play_delay'],
  ],
  points: [
    [1000, 0.05, [[null, null, null, 0, 0], [0, -0.2, 0.2, 0, 0]]],
    [1001, 0.05, [[2.5, 0.5, 60, 1.5, -1], [0.1, -0.1, 0.15, 0, 3]]],
  ],
}; // prettier-ignore

describe('the course of a trial', () => {
  it('is drawn of the metric that is asked for, in factors', () => {
    expect(courseOf(trace, metric)).toMatchObject({
      at_s: [1000, 1001],
      estimate: [null, 2.5],
      high: [null, 60],
    });
    expect(courseOf(trace, delay)?.estimate[1]).toBeCloseTo(1.105);
    expect(courseOf(trace, { ...metric, arm: 'other' })).toBeNull();
  });
  it('is as high as what is known well, with the margin in it', () => {
    const course = courseOf(trace, metric);
    if (!course) throw new Error('no course');
    const [low, high] = heightOf(course, metric);
    expect(low).toBeLessThanOrEqual(0.5);
    expect(high).toBeGreaterThan(2.5);
    expect(high).toBeLessThan(4);
    expect(clipped(course.high, high, [low, high])).toEqual([high, high]);
  });
});

describe('the gist of a trial', () => {
  it('is the nearest harm and how many guardrails are proven harmless', () => {
    const metrics = [
      { ...metric, log_e_harm: 0.5 * metric.needed_log_e, safe: true },
      { ...metric, log_e_harm: -2 },
      { ...metric, guardrail: false, log_e_harm: 0 },
    ];
    expect(gistOf({ metrics })).toEqual({ harm: 0.5, proven: 1, guardrails: 2, units: 4035 });
    expect(gistOf({ metrics: [] })).toEqual({ harm: 0, proven: 0, guardrails: 0, units: 0 });
  });
  it('says what to do, which mostly is nothing', () => {
    const now = (status: TrialRecord['status']) => whatNow({ ...record, status });
    expect(now('running')).toContain('Nothing to do');
    expect(now('rolled back')).toContain('ship it again');
    expect(whatNow({ status: 'stopped', trial: { ...record.trial, subject: 'flag' } })).toContain('try it');
  });
});
