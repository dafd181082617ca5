/**
 * Films on their way to the service: a queue of tus uploads, two at a time, that survive dead servers and,
 * when the same file is chosen again, a reload of the page. Enter at `uploads.add`.
 */
import { Upload, type DetailedError, type PreviousUpload } from 'tus-js-client';
import { noteAnswer, noteSilence } from '../api/connection.svelte';
import { asFailure, failureFrom, unreachable } from '../api/failure';
import { API } from '../api/http';
import { isHiccup } from '../api/retry';
import type { Failure } from '../api/types';
import { titleOf } from './naming';
import { speed, withSample, type Sample } from './pace';
import * as unfinished from './unfinished';

const AT_ONCE = 2;
const CHUNK_BYTES = 8 * 1024 * 1024;
/** About three minutes of silence before a person has to press Resume. */
const RETRY_DELAYS_MS = [0, 300, 600, 1000, 2000, 3000, ...Array<number>(35).fill(5000)];

export type UploadState = 'queued' | 'sending' | 'paused' | 'done' | 'failed';

export class FilmUpload {
  state = $state<UploadState>('queued');
  sent_bytes = $state(0);
  bytes_per_s = $state(0);
  resumed = $state(false);
  title_id = $state<string | null>(null);
  failure = $state<Failure | null>(null);
  readonly name: string;
  private readonly tus: Upload;
  private samples: Sample[] = [];
  private looked = false;

  constructor(
    readonly key: number,
    readonly file: File,
    private readonly onFree: () => void,
  ) {
    this.name = titleOf(file.name);
    this.tus = new Upload(file, {
      endpoint: `${API}/uploads`,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      headers: { 'X-Redqueen': '1' },
      metadata: { filename: file.name, title: this.name },
      removeFingerprintOnSuccess: true,
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        if (isHiccup(status)) noteSilence();
        return isHiccup(status) || status === 409 || status === 423 || status === 500;
      },
      onAfterResponse: (_request, response) => {
        noteAnswer();
        this.learn(response.getHeader('Redqueen-Title') ?? null);
      },
      onProgress: (sent) => {
        this.measure(sent);
      },
      onSuccess: () => {
        this.finish('done');
      },
      onError: (error) => {
        this.fail(error);
      },
    });
  }

  get fraction(): number {
    return this.file.size > 0 ? this.sent_bytes / this.file.size : 0;
  }

  async start(): Promise<void> {
    this.state = 'sending';
    this.failure = null;
    this.samples = [];
    if (!this.looked) {
      this.looked = true;
      const previous = newest(await this.tus.findPreviousUploads().catch(() => []));
      if (previous) {
        this.tus.resumeFromPreviousUpload(previous);
        this.resumed = true;
        this.learn(unfinished.titleOfUpload(previous.uploadUrl ?? ''));
      }
    }
    // A pause may have come meanwhile; the compiler cannot know.
    if ((this.state as UploadState) === 'sending') this.tus.start();
  }

  async pause(): Promise<void> {
    this.state = 'paused';
    this.bytes_per_s = 0;
    this.onFree();
    await this.tus.abort();
  }

  /** End the upload here and at the service. */
  async cancel(): Promise<void> {
    const { url } = this.tus;
    this.state = 'paused';
    this.onFree();
    await this.tus.abort(true).catch(() => undefined);
    if (url !== null) unfinished.forget(url);
  }

  private learn(title_id: string | null): void {
    if (title_id === null) return;
    this.title_id = title_id;
    if (this.tus.url !== null) unfinished.remember(this.tus.url, title_id);
  }

  private measure(sent_bytes: number): void {
    this.sent_bytes = sent_bytes;
    this.samples = withSample(this.samples, { at_ms: Date.now(), sent_bytes });
    this.bytes_per_s = speed(this.samples);
  }

  private finish(state: 'done' | 'failed'): void {
    this.state = state;
    if (state === 'done') {
      this.sent_bytes = this.file.size;
      if (this.tus.url !== null) unfinished.forget(this.tus.url);
    }
    this.bytes_per_s = 0;
    this.onFree();
  }

  private fail(error: Error | DetailedError): void {
    this.failure = failureOf(error);
    this.finish('failed');
  }
}

function newest(previous: PreviousUpload[]): PreviousUpload | undefined {
  return previous.sort((a, b) => Date.parse(b.creationTime) - Date.parse(a.creationTime))[0];
}

function failureOf(error: Error | DetailedError): Failure {
  if (!('originalRequest' in error)) return asFailure(error);
  const response = error.originalResponse;
  if (!response) return unreachable();
  let body: unknown = null;
  try {
    body = JSON.parse(response.getBody());
  } catch {
    // Not the API's own error; its status says enough.
  }
  return failureFrom(response.getStatus(), body);
}

class Uploads {
  items = $state<FilmUpload[]>([]);
  private count = 0;

  get busy(): boolean {
    return this.items.some((item) => item.state === 'sending' || item.state === 'queued');
  }

  add(files: Iterable<File>): void {
    for (const file of files) {
      this.count++;
      this.items.push(
        new FilmUpload(this.count, file, () => {
          this.next();
        }),
      );
    }
    this.next();
  }

  resume(item: FilmUpload): void {
    item.state = 'queued';
    this.next();
  }

  async remove(item: FilmUpload): Promise<void> {
    this.items = this.items.filter((other) => other.key !== item.key);
    if (item.state !== 'done') await item.cancel();
  }

  private next(): void {
    let free = AT_ONCE - this.items.filter((item) => item.state === 'sending').length;
    for (const item of this.items) {
      if (free <= 0) return;
      if (item.state !== 'queued') continue;
      free--;
      void item.start();
    }
  }
}

export const uploads = new Uploads();

addEventListener('beforeunload', (event) => {
  if (uploads.busy) event.preventDefault();
});
