/** Which class of device a browser says it is. Pure. */

export type Device = 'desktop' | 'mobile' | 'tv' | 'other';

const TV = /smart-?tv|tizen|web0s|webos|googletv|appletv|hbbtv|bravia|aft[a-z]|roku|crkey/i;
const MOBILE = /mobi|android|iphone|ipad|ipod/i;
const DESKTOP = /windows nt|macintosh|x11|cros/i;

export function deviceOf(agent: string): Device {
  if (TV.test(agent)) return 'tv';
  if (MOBILE.test(agent)) return 'mobile';
  return DESKTOP.test(agent) ? 'desktop' : 'other';
}
