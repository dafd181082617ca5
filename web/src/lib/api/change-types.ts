/**
 * What the API says of changes: releases, flags, who changed what. Field by field in its own names, like
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
