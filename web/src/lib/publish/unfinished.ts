/**
 * Uploads that a closed page left half-way. tus keeps its own record in localStorage; here is what a person
 * needs of it, and which title each upload feeds.
 */
import { defaultOptions } from 'tus-js-client';

const KEY = 'redqueen.uploads';

export interface Unfinished {
  url: string;
  filename: string;
  size_bytes: number;
  key: string;
}

function known(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, string>;
  } catch {
    return {};
  }
}

function keep(titles: Record<string, string>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(titles));
  } catch {
    // Without a memory an upload still works; it only cannot be resumed after a reload.
  }
}

export function remember(upload_url: string, title_id: string): void {
  keep({ ...known(), [upload_url]: title_id });
}

export function forget(upload_url: string): void {
  keep(Object.fromEntries(Object.entries(known()).filter(([url]) => url !== upload_url)));
}

export function titleOfUpload(upload_url: string): string | null {
  return known()[upload_url] ?? null;
}

/** What a closed page left half-way, newest first. */
export async function unfinished(): Promise<Unfinished[]> {
  const all = (await defaultOptions.urlStorage?.findAllUploads()) ?? [];
  return all
    .sort((a, b) => Date.parse(b.creationTime) - Date.parse(a.creationTime))
    .map((upload) => ({
      url: upload.uploadUrl ?? '',
      filename: upload.metadata['filename'] ?? 'film',
      size_bytes: upload.size ?? 0,
      key: upload.urlStorageKey,
    }));
}

/** Let go of an upload that will not be resumed; the service ends it when it expires. */
export async function drop(upload: Unfinished): Promise<void> {
  await defaultOptions.urlStorage?.removeUpload(upload.key);
  forget(upload.url);
}
