import { S3Error, type S3ErrorKind } from "../../s3/object-store.ts";

/** Between tries of what has failed. */
export const firstAgainMs = 1000;
const mostAgainMs = 60_000;

const passing: ReadonlySet<S3ErrorKind> = new Set(["UNAVAILABLE", "THROTTLED", "ABORTED"]);

/** It may be over by itself, and nobody has to know but who looks at how old what is pending is. */
export function mayPass(error: unknown): boolean {
	return error instanceof S3Error && passing.has(error.kind);
}

/** When to try for the next time, by performance.now. */
export function againAt(tries: number): number {
	return tries === 0 ? 0 : performance.now() + Math.min(mostAgainMs, firstAgainMs * 2 ** (tries - 1));
}
