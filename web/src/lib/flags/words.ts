/** Flags in words: values, rules, what would change. Pure. */
import type { Condition, Flag, Rule } from '../api/change-types';

const OPS: Record<string, string> = {
  in: 'is',
  not_in: 'is not',
  starts_with: 'starts with',
  ends_with: 'ends with',
  contains: 'contains',
  at_least: 'is at least',
  below: 'is below',
  version_at_least: 'is version',
  version_below: 'is below version',
  present: 'is known',
  absent: 'is not known',
};

/** A flag's value, short: true, "red", 12, {"a":1}. */
export function valueOf(value: unknown): string {
  const text = JSON.stringify(value).replaceAll('","', '", "');
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** "country is de or at, and device is tv". Without conditions: everybody. */
export function whenOf(rule: Rule): string {
  return (rule.when ?? []).map(conditionOf).join(', and ') || 'everybody';
}

function conditionOf({ attribute, op = 'in', values = [] }: Condition): string {
  const verb = `${attribute} ${OPS[op] ?? op}`;
  if (op === 'present' || op === 'absent') return verb;
  const after = op === 'version_at_least' ? ' or later' : '';
  return `${verb} ${values.map(String).join(' or ')}${after}`;
}

/** What everybody whom no rule chooses gets now. */
export function servedNow(flag: Flag): string {
  return `${flag.default} = ${valueOf(flag.variants[flag.default])}`;
}

/** Whether it may be changed here: what a trial tries belongs to the trial until it ends. */
export function isFree(flag: Flag): boolean {
  return flag.trial === null;
}

/** Flags whose key, owner or description has the words. */
export function matching(flags: readonly Flag[], query: string): Flag[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return flags.filter((flag) => {
    const text = `${flag.key} ${flag.owner} ${flag.description}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
