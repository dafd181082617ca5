/**
 * What the API says of changes: releases, services, flags, who changed what. Field by field in its own names, like
 * types.ts. Moments are RFC 3339.
 */

export type Phase =
  | 'stored'
  | 'queued'
  | 'starting'
  | 'trying'
  | 'promoting'
  | 'promoted'
  | 'rolled back'
  | 'inconclusive'
  | 'stopped'
  | 'failed';

export interface Provenance {
  commit?: string;
  author?: string;
  /** The first line of the commit's message. */
  subject?: string;
  ref?: string;
  /** Whether the tree was exactly the commit; null: unknown. */
  clean?: boolean | null;
}

export interface Release {
  service: string;
  /** r1, r2 … within the service. */
  id: string;
  phase: Phase;
  because: string;
  since: string;
  /** There is one from the phase `trying` on. */
  trial: string;
  version: string;
  owner: string;
  by: string;
  why: string;
  created: string;
  /** Nothing is left to be done. */
  settled: boolean;
  /** Promoted: until when the version before it can take over at once. */
  warm_until: string | null;
  undoable: boolean;
  artifact: { digest: string; size_bytes: number; files: number; unpacked_bytes: number };
  provenance: Provenance;
  history: { phase: Phase; because: string; at: string }[];
}

/** Which release a rollback would undo, and what would happen, one sentence a step. */
export interface WayBack {
  release: string;
  steps: string[];
}

export interface ServiceInstance {
  id: string;
  zone: string;
  state: string;
  pid: number | null;
  address: string;
  version: string;
  restarts: number;
  because: string;
  /** It runs what was last asked for. */
  current: boolean;
  spare: boolean;
}

export interface Service {
  name: string;
  state: 'up' | 'starting' | 'replacing' | 'failing';
  because: string;
  wanted: number;
  ready: number;
  revision: number;
  instances: ServiceInstance[];
  /** As it was declared; fields that are as usual are left out. */
  file: {
    owner: string;
    version?: string;
    command: string[];
    health?: string;
    routes?: { path?: string }[];
  } | null;
  /** Of a release's group of nodes: the service that it belongs to. */
  group_of: string;
}

export type FlagKind = 'boolean' | 'string' | 'integer' | 'number' | 'object';

export interface Condition {
  attribute: string;
  op?: string;
  values?: (string | number | boolean)[];
}

export interface Rule {
  variant: string;
  when?: Condition[];
  note?: string;
}

export interface Flag {
  key: string;
  kind: FlagKind;
  /** Value by name. */
  variants: Record<string, unknown>;
  default: string;
  owner: string;
  description: string;
  rules: Rule[];
  enabled: boolean;
  /** Viewers' browsers may read it too. */
  browser: boolean;
  revision: number;
  changed_at: string;
  by: string;
  /** The trial that tries it now. */
  trial: string | null;
}

export interface AuditLine {
  id: string;
  at: string;
  who: string;
  what: string;
  subject: string;
  because: string;
}

export type ExperimentPhase = 'testing' | 'rolling out' | 'won' | 'ended';

export interface Experiment {
  name: string;
  flag: string;
  /** What is tried. */
  variants: string[];
  /** The flag's default at the start. */
  control: string;
  goal: string;
  because: string;
  owner: string;
  by: string;
  started_at: string;
  ended_at: string | null;
  phase: ExperimentPhase;
  /** Why it is where it is. */
  outcome: string;
  winner: string;
  /** The trial that decides now, or decided last. */
  trial: string;
  status: string;
  /** Of the viewers, in all variants together. */
  share: number;
}

/** One treatment against the control in a slice of the viewers. */
export interface Segment {
  arm: string;
  metric: string;
  device: string;
  zone: string;
  direction: 'worse' | 'better';
  treatment: [number, number];
  control: [number, number];
  estimate: number | null;
  low: number | null;
  high: number | null;
  difference: boolean;
  log_e: number;
  stands_out: boolean;
}

/** Seconds watched by viewer since the start, sharpened by the week before. */
export interface Watched {
  arm: string;
  viewers: number;
  control_viewers: number;
  mean_s: number;
  control_mean_s: number;
  difference_s: number;
  low_s: number | null;
  high_s: number | null;
  raw_difference_s: number;
  spread_left: number;
}

export interface ExperimentResults {
  experiment: Experiment;
  segments: Segment[];
  viewing: { arms: Watched[]; note: string };
}
