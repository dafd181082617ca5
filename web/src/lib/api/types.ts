/**
 * What the HTTP API says, field by field, in its own names (snake_case, units in the names).
 * Nothing is renamed at the border, so that a look at the wire and a look at the code agree.
 */

export type TitleState = 'uploading' | 'waiting' | 'encoding' | 'playable' | 'complete' | 'failed';

export interface Failure {
  code: string;
  what: string;
  why: string;
  hint: string;
}

export interface Rung {
  name: string;
  height: number;
  bitrate_bps: number;
  /** 0..1 of this rung's encode. */
  progress: number;
}

export interface Title {
  id: string;
  title: string;
  description: string;
  state: TitleState;
  /** 0..1 of the whole encode. */
  progress: number;
  uploaded_bytes: number;
  size_bytes: number;
  duration_s: number | null;
  width: number | null;
  height: number | null;
  fps: number | null;
  rungs: Rung[];
  subtitles: { lang: string; label: string }[];
  failure: Failure | null;
  /** Relative to /media/<id>/, as are hls and dash. */
  poster: string | null;
  hls: string | null;
  dash: string | null;
  created_at: string;
  updated_at: string;
  sample: boolean;
  position_s?: number;
}

export interface Row {
  key: string;
  title: string;
  items: Title[];
}

export interface SubtitleTrack {
  lang: string;
  label: string;
  url: string;
}

export interface Playback {
  state: TitleState;
  hls: string | null;
  dash: string | null;
  poster: string | null;
  position_s: number;
  duration_s: number | null;
  subtitles: SubtitleTrack[];
  complete: boolean;
}

export interface PlayLink {
  url: string;
  dash_url: string | null;
  expires_at: string;
}

export interface Account {
  id: string;
  name: string;
  role: string;
}

export interface FleetNode {
  id: string;
  role: string;
  service: string;
  zone: string;
  pid: number | null;
  address: string;
  state: string;
  version: string;
  restarts: number;
  because: string;
  /** A gateway's: the version of what it serves by. */
  snapshot: string;
  /** What is wrong with a process that serves all the same. */
  warning: string;
}

export interface Fleet {
  region: string;
  public_url: string;
  as_of: string | number;
  zones: string[];
  nodes: FleetNode[];
  leader: string | null;
}
