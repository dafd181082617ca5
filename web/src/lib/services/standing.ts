/** Services with the groups of nodes that releases have beside them, in words. Pure. */
import type { Service } from '../api/change-types';

export interface Standing {
  service: Service;
  /** What a release has beside it: its canary, as many fresh nodes of today's version, the old version kept warm. */
  groups: { service: Service; release: string; part: string }[];
}

const PARTS: Record<string, string> = {
  canary: 'the new version, tried on some viewers',
  baseline: "fresh nodes of today's version, to compare with",
  warm: 'the version before, ready to take over',
};

/** Every service with its groups, in the order given. A group whose service is one of the region's own stands alone. */
export function standings(all: readonly Service[]): Standing[] {
  const names = new Set(all.map((one) => one.name));
  return all
    .filter((one) => !names.has(one.group_of))
    .map((service) => ({
      service,
      groups: all
        .filter((one) => one.group_of === service.name)
        .map((group) => ({ service: group, ...named(group.name) })),
    }));
}

/** What a group is for, from its name `<service>--<release>-<part>`. */
function named(name: string): { release: string; part: string } {
  const [, release = '', part = ''] = /--(r\d+)-([a-z]+)$/.exec(name) ?? [];
  return { release, part: PARTS[part] ?? part };
}

/** The paths that lead to it. */
export function pathsOf({ file }: Service): string[] {
  return (file?.routes ?? []).map((route) => route.path ?? '/');
}

/** What its nodes run now: one version, or each while they are being replaced. */
export function versionsOf(service: Service): string[] {
  const running = service.instances.map((one) => one.version).filter(Boolean);
  return [...new Set(running.length > 0 ? running : [service.file?.version ?? '1'])].sort();
}
