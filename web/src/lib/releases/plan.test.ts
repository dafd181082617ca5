import { describe, expect, it } from 'vitest';
import type { Release } from '../api/change-types';
import { byService, planOf } from './plan';

const NOW_MS = Date.parse('2026-11-22T06:00:00Z');

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
const said = (...releases: Release[]) => planOf(group(...releases), NOW_MS)?.steps.join(' ') ?? null;

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

describe('the plan of a rollback', () => {
  it('of a release under trial sends its viewers to what all others have', () => {
    const plan = said(release(2, { phase: 'trying', version: '2.0' }), release(1, {}));
    expect(plan).toContain('every viewer of r2 (2.0)');
    expect(plan).toContain("today's version, r1");
  });
  it('of a promoted release is at once while the old version is warm, and says so when it is not', () => {
    const warm = release(2, { warm_until: '2026-11-22T06:10:00Z' });
    expect(said(warm, release(1, {}))).toContain('nodes of r1 are still warm: within two seconds');
    expect(said({ ...warm, warm_until: '2026-11-22T05:00:00Z' }, release(1, {}))).toContain(
      'must be healthy first',
    );
    expect(said(release(2, {}))).toContain('the version before it');
  });
  it('is none where there is no way back, or one is on its way already', () => {
    expect(said(release(1, { undoable: false }))).toBeNull();
    expect(
      said(release(2, { phase: 'rolled back', settled: false, undoable: false }), release(1, {})),
    ).toBeNull();
  });
  it('looks past releases that are over', () => {
    expect(said(release(3, { phase: 'failed' }), release(2, {}), release(1, {}))).toContain('r1');
  });
});
