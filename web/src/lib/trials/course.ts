/** How a trial has gone, as columns for plots: one metric of one arm over time. Pure. */
import type { MetricShown, Trace } from '../api/trial-types';
import { asShown, isUnknown } from './words';

export interface Course {
  /** Seconds since 1970. */
  at_s: number[];
  estimate: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  /** Log E by the log that is needed: 1 is enough. */
  harm: number[];
  safe: number[];
}

/** The most a plot of factors shows; what is known less well than that is cut at the edge. */
const WIDEST = 8;

export function courseOf(trace: Trace, metric: MetricShown): Course | null {
  const row = trace.rows.findIndex(([arm, name]) => arm === metric.arm && name === metric.name);
  if (row < 0) return null;
  const course: Course = { at_s: [], estimate: [], low: [], high: [], harm: [], safe: [] };
  for (const [at_s, , rows] of trace.points) {
    const [estimate, low, high, harm, safe] = rows[row] ?? [null, null, null, 0, 0];
    course.at_s.push(at_s);
    course.estimate.push(isUnknown({ ...metric, low, high }) ? null : asShown(metric, estimate));
    course.low.push(asShown(metric, low));
    course.high.push(asShown(metric, high));
    course.harm.push(harm / metric.needed_log_e);
    course.safe.push(safe / metric.needed_log_e);
  }
  return course;
}

/** The range of a plot's height: all that is known well, 1 (or 0) and the margin always in it. */
export function heightOf(course: Course, metric: MetricShown): [number, number] {
  const plain = asShown(metric, 0) === 0 && metric.difference;
  const middle = plain ? 0 : 1;
  const margin = asShown(metric, metric.margin) ?? middle;
  const known = [...course.low, ...course.high, ...course.estimate].filter((one) => one !== null);
  const tight = plain ? known : known.filter((one) => one <= WIDEST && one >= 1 / WIDEST);
  const [low, high] = [Math.min(middle, margin, ...tight), Math.max(middle, margin, ...tight)];
  const air = (high - low) * 0.08 || 0.1;
  return [plain ? low - air : Math.max(0, low - air), high + air];
}

/** Bounds that are not known (or lie far away) drawn at the plot's edge, so that the band has no holes. */
export function clipped(values: (number | null)[], edge: number, [low, high]: [number, number]): number[] {
  return values.map((value) => Math.min(high, Math.max(low, value ?? edge)));
}
