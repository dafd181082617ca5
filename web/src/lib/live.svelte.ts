/** Something of the service's that is looked at again and again while it is shown. Enter at `follow` in an effect. */
import { asFailure, isSignedOut, type ApiFailure } from './api/failure';
import { poll, type Poll } from './poll';

const AFTER_FAILURE_MS = 3000;

export class Live<T> {
  /** What was last seen; it stays while the service does not answer. */
  value = $state.raw<T | null>(null);
  failure = $state<ApiFailure | null>(null);
  private polling: Poll | undefined;

  /** `pause` answers the ms until the next look, or null when it will never change again. */
  constructor(
    private readonly read: (signal: AbortSignal) => Promise<T>,
    private readonly pause: (seen: T) => number | null,
  ) {}

  /** Begin to look. Answers how to stop. */
  follow(): () => void {
    this.polling = poll(async (signal) => {
      try {
        const seen = await this.read(signal);
        this.value = seen;
        this.failure = null;
        return this.pause(seen);
      } catch (thrown) {
        if (signal.aborted || isSignedOut(thrown)) return null;
        this.failure = asFailure(thrown);
        const hopeless = this.failure.status === 403 || this.failure.status === 404;
        return hopeless ? null : AFTER_FAILURE_MS;
      }
    });
    return this.polling.stop;
  }

  /** Look now. */
  again(): void {
    this.polling?.now();
  }
}
