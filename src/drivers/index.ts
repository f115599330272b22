import type { Driver } from "./driver.ts";
import { goofys } from "./goofys.ts";
import { native } from "./native.ts";
import { s3fs } from "./s3fs.ts";
import { script } from "./script.ts";

/** Every driver; the first that serves a source's scheme is its default. */
export const drivers: readonly Driver[] = [native, goofys, s3fs, script];
