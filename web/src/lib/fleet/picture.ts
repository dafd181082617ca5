/**
 * The fleet as a picture: who stands in which zone, what changed since the last look, and each node's pulse
 * over the last minute. Pure: one picture and one answer of the API give the next picture.
 */
import type { Fleet, FleetNode } from '../api/types';

/** How a node's state looks. Words go with every colour. */
export type Mood = 'well' | 'rising' | 'leaving' | 'dead' | 'gone';

const MOODS: Record<string, Mood> = {
  up: 'well',
  starting: 'rising',
  draining: 'leaving',
  backoff: 'dead',
  quarantined: 'dead',
  stopped: 'gone',
};

export const moodOf = (state: string): Mood => MOODS[state] ?? 'dead';

export interface SeenNode extends FleetNode {
  mood: Mood;
  /** One mood a look, oldest first. */
  pulse: Mood[];
  /** When it was last seen to die, in ms; null when it never was. */
  died_ms: number | null;
  /** When it last came back after a death, in ms. */
  back_ms: number | null;
  /** When it went missing from the list, in ms. */
  missing_ms: number | null;
}

export interface Incident {
  key: string;
  at_ms: number;
  node_id: string;
  what: 'died' | 'back' | 'new' | 'removed';
  text: string;
}

export interface Picture {
  zones: { name: string; groups: { role: string; nodes: SeenNode[] }[] }[];
  nodes: SeenNode[];
  incidents: Incident[];
}

export const EMPTY: Picture = { zones: [], nodes: [], incidents: [] };

const PULSE_LOOKS = 45;
const GHOST_MS = 8000;
const INCIDENTS = 40;
const ROLE_ORDER = ['gateway', 'envoy', 'api', 'registry', 'control', 'worker', 'service', 'supervisor'];

const rank = (role: string) => {
  const at = ROLE_ORDER.indexOf(role);
  return at === -1 ? ROLE_ORDER.length : at;
};

/** What happens outside of every zone (the supervisor). */
export const NO_ZONE = '';

/** The picture after `fleet` was seen at `now_ms`. */
export function look(before: Picture, fleet: Fleet, now_ms: number): Picture {
  const known = new Map(before.nodes.map((node) => [node.id, node]));
  const incidents: Incident[] = [];
  const first = before.nodes.length === 0;
  const nodes = fleet.nodes.map((node) => {
    const [seen, news] = see(known.get(node.id), node, now_ms, first);
    if (news) incidents.push(news);
    known.delete(node.id);
    return seen;
  });
  for (const node of known.values()) {
    const missing_ms = node.missing_ms ?? now_ms;
    if (node.missing_ms === null) incidents.push(incident(now_ms, node.id, 'removed', 'is no longer listed'));
    if (now_ms - missing_ms < GHOST_MS) {
      nodes.push({ ...node, state: 'gone', mood: 'gone', missing_ms, pulse: beat(node.pulse, 'gone') });
    }
  }
  return {
    zones: zonesOf(fleet.zones, nodes),
    nodes,
    incidents: [...incidents.reverse(), ...before.incidents].slice(0, INCIDENTS),
  };
}

function see(
  old: SeenNode | undefined,
  node: FleetNode,
  now_ms: number,
  first: boolean,
): [SeenNode, Incident | null] {
  const mood = moodOf(node.state);
  const pulse = beat(old?.pulse ?? [], mood);
  const fresh = { ...node, mood, pulse, missing_ms: null };
  if (!old) {
    const news = first ? null : incident(now_ms, node.id, 'new', 'joined the fleet');
    return [{ ...fresh, died_ms: null, back_ms: null }, news];
  }
  const otherProcess = old.pid !== null && node.pid !== old.pid;
  const died = (mood === 'dead' || otherProcess) && old.mood !== 'dead' && old.died_ms === null;
  const died_ms = died ? now_ms : old.died_ms;
  if (died && mood !== 'well') {
    return [
      { ...fresh, pulse: beat(old.pulse, 'dead'), died_ms, back_ms: null },
      incident(now_ms, node.id, 'died', `died${old.pid === null ? '' : ` (process ${String(old.pid)})`}`),
    ];
  }
  if (mood === 'well' && died_ms !== null) {
    const took_s = (now_ms - died_ms) / 1000;
    const because = took_s < 0.1 ? 'died and was back within a second' : `back after ${took_s.toFixed(1)} s`;
    return [
      { ...fresh, pulse: died ? beat(old.pulse, 'dead') : pulse, died_ms: null, back_ms: now_ms },
      incident(now_ms, node.id, 'back', `${because} (process ${String(node.pid ?? '?')})`),
    ];
  }
  return [{ ...fresh, died_ms, back_ms: old.back_ms }, null];
}

const beat = (pulse: readonly Mood[], mood: Mood) => [...pulse.slice(1 - PULSE_LOOKS), mood];

function incident(at_ms: number, node_id: string, what: Incident['what'], text: string): Incident {
  return { key: `${String(at_ms)} ${node_id} ${what}`, at_ms, node_id, what, text };
}

function zonesOf(names: readonly string[], nodes: SeenNode[]): Picture['zones'] {
  const all = [...new Set([...names, ...nodes.map((node) => node.zone).filter((zone) => zone !== NO_ZONE)])];
  return all.map((name) => ({ name, groups: groupsOf(nodes.filter((node) => node.zone === name)) }));
}

/** Nodes by role, in the order a request meets them. */
export function groupsOf(nodes: readonly SeenNode[]): { role: string; nodes: SeenNode[] }[] {
  const roles = [...new Set(nodes.map((node) => node.role))].sort(
    (a, b) => rank(a) - rank(b) || a.localeCompare(b),
  );
  return roles.map((role) => ({
    role,
    nodes: nodes.filter((node) => node.role === role).sort((a, b) => a.id.localeCompare(b.id)),
  }));
}

/** How many are well, of how many. */
export function tally(nodes: readonly SeenNode[]): { well: number; all: number } {
  const present = nodes.filter((node) => node.mood !== 'gone');
  return { well: present.filter((node) => node.mood === 'well').length, all: present.length };
}
