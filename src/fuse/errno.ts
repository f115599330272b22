import { constants } from "node:os";
import { FuseError } from "./filesystem.ts";

const numbers: Readonly<Record<string, number>> = constants.errno;

/** The number in errno(3) for what a filesystem threw: EIO for everything that is not a FuseError. */
export function errnoOf(thrown: unknown): number {
	return (thrown instanceof FuseError ? numbers[thrown.errno] : undefined) ?? constants.errno.EIO;
}
