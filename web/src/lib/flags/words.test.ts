import { describe, expect, it } from 'vitest';
import type { Flag } from '../api/change-types';
import { isFree, matching, servedNow, valueOf, whenOf } from './words';

const flag: Flag = {
  key: 'home.row_order',
  kind: 'string',
  variants: { usual: 'new first', watched: 'continue first' },
  default: 'usual',
  owner: 'anna',
  description: 'Which row leads the home page',
  rules: [],
  enabled: true,
  browser: false,
  revision: 3,
  changed_at: '2026-11-22T06:00:00Z',
  by: 'owner',
  trial: null,
};

describe('a flag', () => {
  it('says what it serves, whatever its value is', () => {
    expect(servedNow(flag)).toBe('usual = "new first"');
    expect(valueOf({ a: [1, 2] })).toBe('{"a":[1,2]}');
    expect(valueOf('x'.repeat(100))).toHaveLength(58);
  });
  it('tells its rules as sentences', () => {
    const when = [
      { attribute: 'country', values: ['de', 'at'] },
      { attribute: 'app', op: 'version_at_least', values: ['2.1'] },
      { attribute: 'email', op: 'present' },
    ];
    expect(whenOf({ variant: 'x', when })).toBe(
      'country is de or at, and app is version 2.1 or later, and email is known',
    );
    expect(whenOf({ variant: 'x' })).toBe('everybody');
  });
  it('is its trial’s until that has ended', () => {
    expect(isFree(flag)).toBe(true);
    expect(isFree({ ...flag, trial: 'rows' })).toBe(false);
  });
  it('is found by its words in any order', () => {
    expect(matching([flag], 'anna ROW')).toHaveLength(1);
    expect(matching([flag], 'bob')).toHaveLength(0);
  });
});
