import { describe, expect, it } from 'vitest';
import type { Release } from '../api/change-types';
import { backFrom, byService } from './plan';

function release(number: number, facts: Partial<Release>): Release {
  return {
    service: 'api',
    id: `r${String(number)}`,
    phase: 'promoted',
    because: '',
    since: '',
    trial: `api-r${String(number)}`,
    version: '',
    owner: 'me',
    by: 'owner',
    why: '',
    created: `2026-11-2${String(number)}T00:00:00Z`,
    settled: true,
    warm_until: null,
    undoable: true,
    artifact: { digest: '', size_bytes: 0, files: 0, unpacked_bytes: 0 },
    provenance: {},
    history: [],
    ...facts,
  };
}

const group = (...releases: Release[]) => {
  const [found] = byService(releases);
  if (!found) throw new Error('no group');
  return found;
};

describe('what runs', () => {
  it('is the newest promoted release; what has no verdict is on its way', () => {
    const found = group(
      release(3, { phase: 'trying' }),
      release(2, { phase: 'rolled back' }),
      release(1, {}),
    );
    expect(found.serving?.id).toBe('r1');
    expect(found.coming.map((one) => one.id)).toEqual(['r3']);
  });
  it('is shown with the service of the newest release first', () => {
    expect(byService([release(1, {}), release(2, { service: 'web' })]).map((one) => one.service)).toEqual([
      'web',
      'api',
    ]);
  });
});

describe('what a rollback would undo', () => {
  it('is what is tried, or else what was promoted last, whatever ended since', () => {
    const undone = (...releases: Release[]) => backFrom(group(...releases))?.id ?? null;
    expect(undone(release(2, { phase: 'trying' }), release(1, {}))).toBe('r2');
    expect(undone(release(3, { phase: 'failed' }), release(2, {}), release(1, {}))).toBe('r2');
  });
  it('is nothing where there is no way back, or one is on its way already', () => {
    expect(backFrom(group(release(1, { undoable: false })))).toBeNull();
    const leaving = release(2, { phase: 'rolled back', settled: false, undoable: false });
    expect(backFrom(group(leaving, release(1, {})))).toBeNull();
  });
});
