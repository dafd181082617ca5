/// <reference types="vitest/config" />
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

/** Where `npm run dev` finds a running region. */
const REGION = process.env['REDQUEEN_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    // Shaka Player is one file that only the player page loads.
    chunkSizeWarningLimit: 600,
  },
  server: { proxy: { '/api': REGION, '/media': REGION } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
