import { join } from 'node:path';

/** Where things are in the folder of a supervisor. */
export interface SupervisorFolder {
  readonly home: string;
  /** One folder for each version. Names that begin with a dot are not complete, or going. */
  readonly versions: string;
  /** Symbolic link to the version that runs. Written by the supervisor. */
  readonly current: string;
  /** What the agent wants to be switched to. Written by the agent. */
  readonly wish: string;
  /** How the newest switch stands. Written by the supervisor. */
  readonly switch: string;
  /** Which process is the agent. Written by the supervisor. */
  readonly start: string;
  /** Which start has proven healthy. Written by the agent. */
  readonly healthy: string;
  readonly lock: string;
}

/** The layout of a supervisor's folder. */
export function supervisorFolder(home: string): SupervisorFolder {
  return {
    home,
    versions: join(home, 'versions'),
    current: join(home, 'current'),
    wish: join(home, 'wish.json'),
    switch: join(home, 'switch.json'),
    start: join(home, 'start.json'),
    healthy: join(home, 'healthy.json'),
    lock: join(home, 'supervisor.lock'),
  };
}
