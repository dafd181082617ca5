/** A trial in numbers and words that people read. Pure. */
import type { Gap, MetricShown, TrialPlan, TrialRecord } from '../api/trial-types';
import { length } from '../text/measures';

const STEPS = [0.05, 0.25, 0.5];
const HORIZON_S = 3600;
const ALPHA = 0.05;

export const stepsOf = (plan: TrialPlan) => plan.steps ?? STEPS;
export const alphaOf = (plan: TrialPlan) => plan.alpha ?? ALPHA;
export const isForEver = (plan: TrialPlan) => plan.for_ever === true;
export const isOver = ({ status }: TrialRecord) => status !== 'planned' && isRunning(status) === false;
export const isRunning = (status: string) => status === 'running' || status === 'held';

/** Means are compared by their logs, so that a difference reads as a ratio; these are compared as they are. */
const PLAIN = new Set(['played']);
const isLog = (metric: Pick<MetricShown, 'difference' | 'name'>) =>
  metric.difference && !PLAIN.has(metric.name.split(':')[0] ?? '');
const isPlain = (metric: Pick<MetricShown, 'difference' | 'name'>) => metric.difference && !isLog(metric);

/** An estimate or a bound as a factor (treatment by control), or as a difference where that is what it is. */
export function asShown(
  metric: Pick<MetricShown, 'difference' | 'name'>,
  value: number | null,
): number | null {
  if (value === null) return null;
  return isLog(metric) ? Math.exp(value) : value;
}

/** "×1.84", "+0.3 s", "–" where nothing is known. */
export function effectOf(metric: Pick<MetricShown, 'difference' | 'name'>, value: number | null): string {
  const shown = asShown(metric, value);
  if (shown === null || !Number.isFinite(shown)) return '–';
  if (isPlain(metric)) return `${shown < 0 ? '−' : '+'}${Math.abs(shown).toFixed(2)}`;
  return `×${factor(shown)}`;
}

/** Whether nothing bounds the effect from either side: then the estimate is no knowledge either. */
export function isUnknown(metric: Pick<MetricShown, 'difference' | 'name' | 'low' | 'high'>): boolean {
  return metric.high === null && (metric.low === null || asShown(metric, metric.low) === 0);
}

/** "×0.71 to ×2.30"; an end that is not known is open. */
export function interval(metric: MetricShown): string {
  if (isUnknown(metric)) return 'anything';
  // A ratio's lower end that is not finite, or 0, says nothing; neither does an infinite upper end.
  const low = metric.low === null || asShown(metric, metric.low) === 0 ? '…' : effectOf(metric, metric.low);
  const high = metric.high === null ? '…' : effectOf(metric, metric.high);
  return low === '…' ? `up to ${high}` : high === '…' ? `from ${low}` : `${low} to ${high}`;
}

function factor(value: number): string {
  if (value >= 100) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** An e-value known by its log: "0.3", "12", "4 million", "10^23". */
export function evidence(log_e: number): string {
  const value = Math.exp(log_e);
  if (value < 0.01) return '0';
  if (value < 10) return value.toFixed(value < 1 ? 2 : 1);
  if (value < 100_000) return Math.round(value).toLocaleString('en-GB');
  return `10^${String(Math.floor(log_e / Math.LN10))}`;
}

/** How much of the evidence that is needed there is, 0..1: logs add up as viewers come. */
export function progress(log_e: number, needed: number): number {
  return Math.min(1, Math.max(0, log_e / needed));
}

/** "12 of 4,035 sessions (0.30 %)"; of a mean only how many there are. */
export function counted(metric: MetricShown, [events, units]: [number, number]): string {
  const all = `${whole(units)} ${metric.unit}`;
  if (metric.difference) return all;
  const share = units > 0 ? ` (${((events / units) * 100).toFixed(2)}\u00a0%)` : '';
  return `${whole(events)} of ${all}${share}`;
}

const whole = (value: number) => Math.round(value).toLocaleString('en-GB');

/** How near a trial is to an end: harm as part of its proof (0..1), guardrails proven harmless, who was counted. */
export function gistOf({ metrics }: Pick<TrialRecord, 'metrics'>): {
  harm: number;
  proven: number;
  guardrails: number;
  units: number;
} {
  const guardrails = metrics.filter((one) => one.guardrail);
  return {
    harm: Math.max(0, ...metrics.map((one) => progress(one.log_e_harm, one.needed_log_e))),
    proven: guardrails.filter((one) => one.safe).length,
    guardrails: guardrails.length,
    units: Math.max(0, ...metrics.map((one) => one.treatment[1])),
  };
}

/** What a maker does now, in a sentence. */
export function whatNow({ status, trial }: Pick<TrialRecord, 'status' | 'trial'>): string {
  if (trial.for_ever) return 'Nothing to do: it runs always.';
  const again = trial.subject === 'release' ? 'ship it again' : 'try it again';
  switch (status) {
    case 'planned':
      return 'Nothing to do: it begins within seconds.';
    case 'running':
      return 'Nothing to do: it ends by itself, with harm proven or ruled out, or when its time is up.';
    case 'held':
      return 'Find out why less is measured than should be. It goes on by itself once that is over, or gives up.';
    case 'promoted':
      return 'Nothing to do: everybody gets it.';
    case 'rolled back':
      return `Everybody has what was there before. See which metric was harmed, mend it, and ${again}.`;
    case 'inconclusive':
      return `Everybody has what was there before. To know more, ${again} for longer, or with more viewers in it.`;
    case 'stopped':
      return `Everybody has what was there before. Nothing was decided: you may ${again}.`;
  }
}

/** Where a metric stands, in a word. */
export function standing(metric: MetricShown): 'harmed' | 'safe' | 'open' | 'watched' {
  if (metric.harmed) return 'harmed';
  if (metric.safe) return 'safe';
  return metric.guardrail ? 'open' : 'watched';
}

/** A metric's name as people say it: "play delay, slow ones, on tv". */
export function titleOf(name: string, device = ''): string {
  const [first = '', ...rest] = name.split(':');
  const more = rest.map((part) => (part === 'tail' ? 'slow ones' : part === 'device' ? '' : part));
  const where = device && !more.includes(device) ? [device] : [];
  return [first.replaceAll('_', ' '), ...more, ...where].filter(Boolean).join(', ');
}

/** What is tried, in a few words. */
export function subjectOf(plan: TrialPlan): string {
  if (plan.subject === 'release') return `release of ${plan.target}`;
  return plan.subject === 'flag' ? `flag ${plan.target}` : 'nothing (A/A)';
}

/** How much time is left until it ends at the latest; empty when it is over or has not begun. */
export function leftOf(record: TrialRecord, now_s: number): string {
  if (!isRunning(record.status) || record.started_s === 0) return '';
  const left_s = record.started_s + (record.trial.horizon_s ?? HORIZON_S) - now_s;
  return left_s > 0 ? `${length(left_s)} left` : 'at its horizon';
}

/** Share of viewers: "5 %", "12.5 %". */
export function part(fraction: number): string {
  const value = fraction * 100;
  return `${Number.isInteger(Math.round(value * 100) / 100) ? String(Math.round(value)) : value.toFixed(1)} %`;
}

/** False alarms that an A/A trial may raise by its own promise, in so many turns begun. */
export function allowedAlarms(record: TrialRecord): number {
  return alphaOf(record.trial) * (record.turn + 1);
}

/** What was missing, by node: "api-1 12 s, nobody could be asked 3 s". */
export function gapsOf({ gaps }: { gaps: readonly Gap[] }): string {
  const lost = new Map<string, number>();
  for (const { node, first, until } of gaps) {
    const name = node || 'nobody could be asked';
    lost.set(name, (lost.get(name) ?? 0) + until - first);
  }
  return [...lost].map(([name, seconds]) => `${name} ${length(seconds)}`).join(', ');
}
