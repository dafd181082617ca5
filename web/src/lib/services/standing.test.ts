import { describe, expect, it } from 'vitest';
import type { Service, ServiceInstance } from '../api/change-types';
import { pathsOf, standings, versionsOf } from './standing';

const node = (version: string): ServiceInstance => ({
  id: '',
  zone: 'a',
  state: 'up',
  pid: 1,
  address: '',
  version,
  restarts: 0,
  because: '',
  current: true,
  spare: false,
});

const service = (name: string, facts: Partial<Service> = {}): Service => ({
  name,
  state: 'up',
  because: '',
  wanted: 1,
  ready: 1,
  revision: 1,
  instances: [],
  file: null,
  group_of: '',
  ...facts,
});

describe('services', () => {
  it('stand with what releases have beside them; groups of our own roles stand alone', () => {
    const found = standings([
      service('api--r2-canary', { group_of: 'api' }),
      service('tea'),
      service('tea--r12-canary', { group_of: 'tea' }),
      service('tea--r12-warm', { group_of: 'tea' }),
    ]);
    expect(found.map((one) => one.service.name)).toEqual(['api--r2-canary', 'tea']);
    expect(found[1]?.groups.map(({ release, part }) => `${release}: ${part}`)).toEqual([
      'r12: the new version, tried on some viewers',
      'r12: the version before, ready to take over',
    ]);
  });
  it('name their paths, and every version that runs', () => {
    const file = { owner: 'me', command: ['x'], version: '7', routes: [{ path: '/tea' }, {}] };
    expect(pathsOf(service('tea', { file }))).toEqual(['/tea', '/']);
    expect(versionsOf(service('tea', { file, instances: [node('r2'), node('r1'), node('r2')] }))).toEqual([
      'r1',
      'r2',
    ]);
    expect(versionsOf(service('tea', { file }))).toEqual(['7']);
  });
});
