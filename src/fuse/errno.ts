import { constants } from "node:os";
import { FuseError, type ErrnoName } from "./filesystem.ts";

const numbers: Readonly<Record<string, number>> = constants.errno;

/** The number in errno(3) for what a filesystem threw: EIO for everything that is not a FuseError. */
export function errnoOf(thrown: unknown): number {
	return numbers[errnoNameOf(thrown)] ?? constants.errno.EIO;
}

/** Its name. */
export function errnoNameOf(thrown: unknown): ErrnoName {
	return thrown instanceof FuseError ? thrown.errno : "EIO";
}
