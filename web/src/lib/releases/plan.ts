/** What runs where, and what could be undone, from the releases of one service. Pure. */
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

/** The release that a rollback of the service would undo; null where there is nothing to go back from. */
export function backFrom(group: ServiceReleases): Release | null {
  const release = group.releases.find((one) => !hasEnded(one) || one.phase === 'promoted' || !one.settled);
  return release?.undoable ? release : null;
}

/** A release as people say it: r4 (1.2.0). */
export function named(release: Release): string {
  return release.version ? `${release.id} (${release.version})` : release.id;
}
