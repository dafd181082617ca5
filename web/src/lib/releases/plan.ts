/** What runs where, and what going back would do, from the releases of one service. Pure. */
import type { Phase, Release } from '../api/change-types';

const ENDED: readonly Phase[] = ['promoted', 'rolled back', 'inconclusive', 'stopped', 'failed'];

export interface ServiceReleases {
  service: string;
  /** Newest first. */
  releases: Release[];
  /** What all viewers get, as far as it was shipped. */
  serving: Release | null;
  /** What is tried or on its way. */
  coming: Release[];
}

export const hasEnded = (release: Release) => ENDED.includes(release.phase);

/** The releases by service, in the order of the newest. */
export function byService(releases: readonly Release[]): ServiceReleases[] {
  const names = [...new Set(releases.map((one) => one.service))];
  const groups = names.map((service) => {
    const own = releases.filter((one) => one.service === service);
    return {
      service,
      releases: own,
      serving: own.find((one) => one.phase === 'promoted') ?? null,
      coming: own.filter((one) => !hasEnded(one)),
    };
  });
  return groups.sort((a, b) => newest(b).localeCompare(newest(a)));
}

const newest = (group: ServiceReleases) => group.releases[0]?.created ?? '';

export interface Plan {
  /** Which release is undone. */
  release: Release;
  /** What happens, in order, one sentence each. */
  steps: string[];
}

/** What a rollback of the service would do now; null when there is nothing to go back from. */
export function planOf(group: ServiceReleases, now_ms: number): Plan | null {
  const release = group.releases.find((one) => !hasEnded(one) || one.phase === 'promoted' || !one.settled);
  if (!release?.undoable) return null;
  const last = 'It is written into the audit log with your name.';
  if (!hasEnded(release)) return { release, steps: [...stepsOfStop(release, group.serving), last] };
  return { release, steps: [...stepsOfReturn(group, release, now_ms), last] };
}

function stepsOfStop(release: Release, serving: Release | null): string[] {
  const today = serving ? `today's version, ${named(serving)}` : "today's version";
  if (release.phase === 'stored' || release.phase === 'queued') {
    return [`${named(release)} is not tried at all. Nobody has met it yet.`];
  }
  return [
    `Within two seconds the gateways send every viewer of ${named(release)} to ${today}.`,
    `The trial ${release.trial} ends as stopped.`,
    'Its nodes finish what they are doing and are removed; no request is lost.',
  ];
}

function stepsOfReturn(group: ServiceReleases, release: Release, now_ms: number): string[] {
  const older = group.releases.slice(group.releases.indexOf(release) + 1);
  const before = older.find((one) => one.phase === 'promoted');
  const old = before ? named(before) : 'the version before it';
  const warm = release.warm_until !== null && Date.parse(release.warm_until) > now_ms;
  return [
    warm
      ? `The nodes of ${old} are still warm: within two seconds the gateways send everybody to them.`
      : `Nodes of ${old} are started and must be healthy first; ${named(release)} serves until then.`,
    `The service's own nodes become ${old} again, one at a time behind a spare.`,
    `Code, configuration, flags and routes go back together.`,
  ];
}

/** A release as people say it: r4 (1.2.0). */
export function named(release: Release): string {
  return release.version ? `${release.id} (${release.version})` : release.id;
}
