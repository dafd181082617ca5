import { describe, expect, it } from 'vitest';
import type { Fleet, FleetNode } from '../api/types';
import { EMPTY, look, tally } from './picture';

const node = (id: string, over: Partial<FleetNode> = {}): FleetNode => {
  const [role = '', zone = ''] = id.split('-');
  return {
    id,
    role,
    service: role,
    zone,
    pid: 1,
    address: '',
    state: 'up',
    version: '1',
    restarts: 0,
    snapshot: '',
    warning: '',
    because: '',
    ...over,
  };
};
const fleet = (...nodes: FleetNode[]): Fleet => ({
  region: 'r', public_url: '', as_of: '', zones: ['a', 'b'], nodes, leader: null,
}); // prettier-ignore

describe('the fleet as a picture', () => {
  it('groups nodes by zone and then by role, in the order a request meets them', () => {
    const seen = look(EMPTY, fleet(node('worker-a-1'), node('gateway-a-1'), node('api-b-1')), 0);
    expect(seen.zones.map((zone) => zone.groups.map((group) => group.role))).toEqual([
      ['gateway', 'worker'],
      ['api'],
    ]);
    expect(seen.incidents).toEqual([]);
  });
  it('sees a death and the coming back, with the time it took', () => {
    let seen = look(EMPTY, fleet(node('api-a-1')), 0);
    seen = look(seen, fleet(node('api-a-1', { state: 'backoff', pid: null })), 1000);
    expect(seen.nodes[0]?.died_ms).toBe(1000);
    expect(tally(seen.nodes)).toEqual({ well: 0, all: 1 });
    seen = look(seen, fleet(node('api-a-1', { state: 'starting', pid: 2 })), 2000);
    expect(seen.nodes[0]?.died_ms).toBe(1000);
    seen = look(seen, fleet(node('api-a-1', { pid: 2 })), 3500);
    expect(seen.nodes[0]).toMatchObject({
      died_ms: null,
      back_ms: 3500,
      pulse: ['well', 'dead', 'rising', 'well'],
    });
    expect(seen.incidents.map((one) => one.text)).toEqual([
      'back after 2.5 s (process 2)',
      'died (process 1)',
    ]);
  });
  it('sees a death that was over between two looks, by the process', () => {
    let seen = look(EMPTY, fleet(node('api-a-1')), 0);
    seen = look(seen, fleet(node('api-a-1', { pid: 2 })), 1000);
    expect(seen.incidents[0]?.text).toMatch(/within a second/);
    expect(seen.nodes[0]?.back_ms).toBe(1000);
  });
  it('keeps a ghost of what is no longer listed, for a while', () => {
    let seen = look(EMPTY, fleet(node('api-a-1'), node('api-b-1')), 0);
    seen = look(seen, fleet(node('api-a-1')), 1000);
    expect(seen.nodes.find((one) => one.id === 'api-b-1')?.mood).toBe('gone');
    seen = look(seen, fleet(node('api-a-1')), 20_000);
    expect(seen.nodes).toHaveLength(1);
  });
});
