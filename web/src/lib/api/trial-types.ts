/** What the API says of trials, field by field in its own names. Times are seconds since 1970; `null` is not finite. */

export type TrialStatus =
  'planned' | 'running' | 'held' | 'promoted' | 'rolled back' | 'inconclusive' | 'stopped';

export interface TrialArm {
  name: string;
  group?: string;
  variant?: string;
  baseline?: string;
}

/** What was planned; fields that are as usual are left out. */
export interface TrialPlan {
  id: string;
  subject: 'release' | 'flag' | 'nothing';
  target: string;
  owner: string;
  because: string;
  layer: string;
  treatments: TrialArm[];
  steps?: number[];
  step_s?: number;
  horizon_s?: number;
  hold_s?: number;
  alpha?: number;
  audience?: { devices?: string[]; zones?: string[]; countries?: string[]; returning?: boolean | null };
  for_ever?: boolean;
}

export interface MetricShown {
  arm: string;
  name: string;
  words: string;
  unit: string;
  device: string;
  guardrail: boolean;
  /** `estimate`, `low`, `high`, `margin` are differences (of logs, mostly); else ratios. */
  difference: boolean;
  margin: number;
  /** Events or sum, units. */
  treatment: [number, number];
  control: [number, number];
  estimate: number | null;
  low: number | null;
  high: number | null;
  log_e_harm: number;
  log_e_safe: number;
  needed_log_e: number;
  harmed: boolean;
  safe: boolean;
  missing: string;
}

export interface TrialRecord {
  trial: TrialPlan;
  status: TrialStatus;
  because: string;
  since_s: number;
  started_s: number;
  ended_s: number;
  step: number;
  share: number;
  look: number;
  winner: string;
  guilty: string[];
  log_e_harm: Record<string, number>;
  metrics: MetricShown[];
  dropped: { arm: string; because: string; at_s: number; proven: boolean }[];
  notes: string[];
  turn: number;
  alarms: { at_s: number; turn: number; because: string }[];
  alarms_ever: number;
}

/** Estimate, low, high, log E against "no harm", log E against "harm". */
export type TraceRow = [number | null, number | null, number | null, number, number];

export interface Trace {
  /** Arm and metric of each row of a point. */
  rows: [string, string][];
  points: [at_s: number, share: number, rows: TraceRow[]][];
}

export interface Gap {
  /** Empty: nobody could be asked. */
  node: string;
  first: number;
  until: number;
}

export interface Noise {
  metric: string;
  /** Half hours that were measured. */
  blocks: number;
  /** Over what independent viewers would make; null: not known yet. */
  dispersion: number | null;
}

export interface TrialPage extends TrialRecord {
  trace: Trace;
  /** Seconds [first, until) of which a node told nothing. */
  gaps: Gap[];
  noise: Noise[];
}
