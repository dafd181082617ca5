/** Numbers as people read them: times, sizes, speeds. Pure. */

/** A position like 1:02:03 or 2:03. Negative and unknown become 0:00. */
export function clock(position_s: number): string {
  const whole = Number.isFinite(position_s) ? Math.max(0, Math.floor(position_s)) : 0;
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, '0');
  return h > 0 ? `${String(h)}:${two(m)}:${two(s)}` : `${String(m)}:${two(s)}`;
}

/** A length like "1 h 2 min", "12 min" or "35 s". */
export function length(duration_s: number): string {
  if (duration_s < 60) return `${String(Math.round(duration_s))} s`;
  const minutes = Math.round(duration_s / 60);
  if (minutes < 60) return `${String(minutes)} min`;
  const rest = minutes % 60;
  return `${String(Math.floor(minutes / 60))} h${rest ? ` ${String(rest)} min` : ''}`;
}

/** A position in words for screen readers: "1 hour 2 minutes 3 seconds". */
export function spoken(position_s: number): string {
  const whole = Math.max(0, Math.floor(position_s));
  const parts: [number, string][] = [
    [Math.floor(whole / 3600), 'hour'],
    [Math.floor(whole / 60) % 60, 'minute'],
    [whole % 60, 'second'],
  ];
  const said = parts.filter(([n]) => n > 0).map(([n, unit]) => `${String(n)} ${unit}${n === 1 ? '' : 's'}`);
  return said.join(' ') || '0 seconds';
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A size in decimal units with at most one decimal: "1.4 GB". */
export function size(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}

export function percent(fraction: number): string {
  return `${String(Math.floor(Math.min(1, Math.max(0, fraction)) * 100))} %`;
}

export function bitrate(bps: number): string {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${String(Math.round(bps / 1000))} kbit/s`;
}

/** A fraction as a CSS length: "41.3%". */
export function share(fraction: number): string {
  return `${(Math.min(1, Math.max(0, fraction)) * 100).toFixed(1)}%`;
}
