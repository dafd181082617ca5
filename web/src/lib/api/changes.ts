/** The API's verbs for changes: releases, services, flags, the audit log. What they mean is the server's OpenAPI. */
import type {
  AuditLine,
  Experiment,
  ExperimentResults,
  Flag,
  Release,
  Service,
  WayBack,
} from './change-types';
import { call } from './http';
import type { TrialPage, TrialRecord } from './trial-types';

const part = encodeURIComponent;

export const releases = {
  all: (signal?: AbortSignal) => call<{ releases: Release[] }>('/releases?limit=30', { signal }),
  /** What a rollback would do now. */
  wayBack: (service: string) => call<WayBack>(`/releases/${part(service)}/rollback`),
  rollBack: (service: string, because: string) =>
    call<Release>(`/releases/${part(service)}/rollback`, { method: 'POST', json: { because } }),
  stop: (service: string, id: string, because: string) =>
    call<Release>(`/releases/${part(service)}/${part(id)}/stop`, { method: 'POST', json: { because } }),
};

export const services = {
  all: (signal?: AbortSignal) => call<{ services: Service[] }>('/services', { signal }),
};

export const flags = {
  all: (signal?: AbortSignal) => call<{ flags: Flag[] }>('/flags', { signal }),
  /** Change a flag from the revision that was seen. */
  set: (flag: Flag, change: Partial<Flag>, because: string) => {
    const { kind, variants, owner, description, rules, browser, revision } = flag;
    const { enabled = flag.enabled, default: chosen = flag.default } = change;
    return call<Flag>(`/flags/${part(flag.key)}`, {
      method: 'PUT',
      json: {
        kind,
        variants,
        owner,
        description,
        rules,
        browser,
        revision,
        enabled,
        default: chosen,
        because,
      },
    });
  },
  /** Make a variant the default once viewers have shown that it does no harm. */
  attempt: (flag: Flag, variant: string, because: string) =>
    call<Experiment>(`/flags/${part(flag.key)}/try`, {
      method: 'POST',
      json: { value: flag.variants[variant], variant, because },
    }),
};

export const audit = {
  page: (before: string | null, signal?: AbortSignal) =>
    call<{ lines: AuditLine[]; next: string | null }>(
      `/audit?limit=100${before === null ? '' : `&before=${part(before)}`}`,
      { signal },
    ),
};

export const trials = {
  all: (signal?: AbortSignal) => call<{ trials: TrialRecord[] }>('/trials', { signal }),
  read: (id: string, signal?: AbortSignal) => call<TrialPage>(`/trials/${part(id)}`, { signal }),
  stop: (id: string, because: string) =>
    call<unknown>(`/trials/${part(id)}/stop`, { method: 'POST', json: { because } }),
};

export const experiments = {
  all: (signal?: AbortSignal) => call<{ experiments: Experiment[] }>('/experiments', { signal }),
  read: (name: string, signal?: AbortSignal) =>
    call<ExperimentResults>(`/experiments/${part(name)}`, { signal }),
  stop: (name: string, because: string) =>
    call<unknown>(`/experiments/${part(name)}/stop`, { method: 'POST', json: { because } }),
};
