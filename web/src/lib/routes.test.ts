import { describe, expect, it } from 'vitest';
import { hrefOf, routeOf, safeNext } from './routes';

describe('addresses', () => {
  it('lead to their pages', () => {
    expect(routeOf('/', '?q=bunny')).toEqual({ page: 'home', query: 'bunny' });
    expect(routeOf('/title/a%20b', '')).toEqual({ page: 'title', id: 'a b' });
    expect(routeOf('/watch/x/', '')).toEqual({ page: 'watch', id: 'x' });
    expect(routeOf('/console', '')).toEqual({ page: 'console', part: 'publish' });
    expect(routeOf('/console/fleet', '')).toEqual({ page: 'console', part: 'fleet' });
    expect(routeOf(hrefOf.trial('api-r2'), '')).toEqual({ page: 'console', part: 'trials', id: 'api-r2' });
  });
  it('that mean nothing are lost, not wrong', () => {
    for (const path of [
      '/title',
      '/watch',
      '/console/zzz',
      '/a/b/c',
      '/console/fleet/x',
      '/console/trials/x/y',
      '/%E0%A4%A',
    ]) {
      expect(routeOf(path, '').page).toBe('lost');
    }
  });
  it('are made and read the same way', () => {
    const odd = 'ä/../%00?#';
    expect(routeOf(hrefOf.title(odd), '')).toEqual({ page: 'title', id: odd });
  });
  it('after signing in stay in this app', () => {
    expect(safeNext('/watch/1')).toBe('/watch/1');
    for (const bad of ['//evil.example', '/\\evil.example', 'https://evil.example', null, '/sign-in']) {
      expect(safeNext(bad)).toBe('/');
    }
  });
});
