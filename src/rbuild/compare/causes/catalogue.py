"""Why two builds of the same thing differ: what each cause is called, what it means, and what removes it.

Values only, so that documentation can be made from them. What shows each of them is in the modules beside.
"""

from __future__ import annotations

from rbuild.compare.model import Cause

IMAGE_TIMES = Cause(
    id="image-times",
    title="time of the build in the image itself",
    explanation=(
        "The builder wrote the clock into the image: as the mtime of a layer's entries, or as `created` in "
        "its configuration."
    ),
    hint="build with `rbuild all`, which gives both the epoch; Podman alone: `podman build --timestamp 0`",
)
DERIVED_HASH = Cause(
    id="derived-hash",
    title="hash of something that differs itself",
    explanation=(
        "The builder noted the id of the image below, or a hash of what was copied, and that differs: this "
        "goes when the other differences go."
    ),
    hint=(
        "look at the layers: `rbuild diff A B --full` lists what differs in them; an image that `rbuild all` "
        "makes has no such notes"
    ),
)
BUILD_ARGUMENT = Cause(
    id="build-argument",
    title="other value of a build argument",
    explanation="The two images were built with different values of an ARG.",
    hint="give the same `--build-arg` to both, or keep it in rbuild.yaml: `args: {NAME: value}` of the stage",
)
OTHER_CONTAINERFILE = Cause(
    id="other-containerfile",
    title="another Containerfile",
    explanation="The instruction reads differently: the two images were built by different Containerfiles.",
    hint=(
        "build both from the same Containerfile; `git diff A B -- Containerfile` shows the edit between two "
        "commits"
    ),
)
USER_OR_UMASK = Cause(
    id="user-or-umask",
    title="user or umask",
    explanation=(
        "The permission bits or the owner of a file are those of whoever checked the project out or ran the "
        "build, under that umask or user id."
    ),
    hint=(
        "say them in the Containerfile: `COPY --chown=0:0 --chmod=644 …`, or `RUN umask 022 && …`; of a "
        "build context, rbuild takes only the executable bit"
    ),
)
BYTECODE = Cause(
    id="bytecode",
    title="Python bytecode with its source's time",
    explanation=(
        "A .pyc file's header holds the mtime of the source that it was compiled from, which is the time of "
        "the build."
    ),
    hint=(
        "leave the normaliser `bytecode` on, or compile without a clock: "
        "`python -m compileall --invalidation-mode checked-hash …`, `pip install --no-compile …`"
    ),
)
GZIP_HEADER = Cause(
    id="gzip-header",
    title="time or name in a gzip header",
    explanation="gzip keeps the mtime and the name of the file that it packed in the header of its output.",
    hint="write `gzip -n` (for tar: `tar -I 'gzip -n' …`; in Python: `gzip.GzipFile(…, mtime=0)`)",
)
ARCHIVE_MEMBER_TIMES = Cause(
    id="archive-member-times",
    title="times of an archive's members",
    explanation="An archive holds the mtime of each member, and the members were written during the build.",
    hint=(
        "give them the epoch: `tar --sort=name --mtime=@$SOURCE_DATE_EPOCH …`; for zip and jar: "
        "`find DIR -exec touch -d @$SOURCE_DATE_EPOCH {} +` first, then `zip -X`"
    ),
)
BUILD_PATH = Cause(
    id="build-path",
    title="build path or build id in a program",
    explanation=(
        "A compiled program holds the folder that it was built in (debug information, `__FILE__`, bytecode's "
        "file name), or a build id, which is a hash over such things."
    ),
    hint=(
        "compile with `-ffile-prefix-map=$PWD=.` (Rust: `--remap-path-prefix`; Go: `-trimpath`) in a folder "
        "with a fixed name, or link with `-Wl,--build-id=none` and `strip` the result"
    ),
)
DATABASE_PAGES = Cause(
    id="database-pages",
    title="pages of a database",
    explanation=(
        "A database file keeps change counters, free pages and the order of insertion beside its rows: the "
        "same rows give other bytes."
    ),
    hint=(
        "write the rows in a fixed order and in one transaction, then make the file anew: "
        "`sqlite3 FILE .dump | sqlite3 NEW`; or create the database when the container starts"
    ),
)
GIT_METADATA = Cause(
    id="git-metadata",
    title="git metadata",
    explanation=(
        "A .git folder is in the image. Its index, logs and packs hold times, inode numbers and whatever the "
        "clone happened to fetch."
    ),
    hint=(
        "leave it out: add `.git` to .containerignore, or in the Containerfile "
        "`git clone --depth 1 … && rm -rf …/.git` within one RUN"
    ),
)
PACKAGE_LEFTOVERS = Cause(
    id="package-leftovers",
    title="package manager's log or cache",
    explanation=(
        "apt, dpkg, pip, npm and their like log when they ran, and keep caches that nothing in the image "
        "reads."
    ),
    hint=(
        "leave rbuild's normalisers on (package-logs, apt-cache, apt-lists, ldconfig-cache, pip-cache, "
        "npm-cache, …), or remove them in the same RUN: `rm -rf /var/log/apt /var/log/dpkg.log "
        "/var/cache/apt /var/cache/ldconfig/aux-cache ~/.cache ~/.npm`"
    ),
)
MACHINE_ID = Cause(
    id="machine-id",
    title="machine id",
    explanation="A package drew an identity for this machine (machine-id(5)) while it was installed.",
    hint="leave the normaliser `machine-id` on, or end the RUN with `truncate --size 0 /etc/machine-id`",
)
SSH_HOST_KEYS = Cause(
    id="ssh-host-keys",
    title="SSH host keys",
    explanation=(
        "Installing an SSH server drew its host keys. Whoever has the image has the private keys of every "
        "container made from it."
    ),
    hint="remove them in the same RUN: `rm -f /etc/ssh/ssh_host_*`, and let `ssh-keygen -A` run at start",
)
GENERATED_KEY = Cause(
    id="generated-key",
    title="private key made during the build",
    explanation="A private key was drawn by chance during the build.",
    hint=(
        "make it when the container starts (`openssl genpkey …` in the entry point), or mount it then; a key "
        "in an image is no secret"
    ),
)
UNLOCKED_NETWORK = Cause(
    id="unlocked-network",
    title="unlocked answer of the network",
    explanation="The file is what a URL answered, and the URL gave another answer at another time.",
    hint=(
        "record it: `rbuild lock`, and build with `rbuild build --locked`; or pin it: "
        "`ADD --checksum=sha256:… URL`"
    ),
)
UNSORTED_LISTING = Cause(
    id="unsorted-listing",
    title="unsorted directory listing",
    explanation=(
        "The same names stand in another order: whoever wrote them took them as the file system listed them, "
        "and that order differs from one file system, and one run, to the next."
    ),
    hint=(
        "sort before writing: `tar --sort=name …`, `find … | LC_ALL=C sort | cpio -o`, in Python "
        "`sorted(os.listdir(…))`"
    ),
)
HASH_ORDER = Cause(
    id="hash-order",
    title="order of a hash table",
    explanation=(
        "The same items stand in another order: they come from a set or a dictionary whose order is drawn by "
        "chance, or from jobs that ran side by side."
    ),
    hint=(
        "sort before writing (`sorted(…)`, `json.dumps(…, sort_keys=True)`), or fix the seed: "
        "`PYTHONHASHSEED=0`, `PERL_HASH_SEED=0`; rbuild sets the first for every RUN"
    ),
)
LOCALE = Cause(
    id="locale",
    title="locale or time zone",
    explanation="The same value was written under another locale, collation, encoding or time zone.",
    hint="say them in the command: `LC_ALL=C.UTF-8 TZ=UTC …`, or as `ENV LC_ALL=C.UTF-8 TZ=UTC`",
)
UUID = Cause(
    id="uuid",
    title="UUID",
    explanation="An identifier was drawn by chance (RFC 9562) during the build.",
    hint=(
        "derive it from a name (`uuidgen --sha1 --namespace @dns --name …`, in Python `uuid.uuid5`), or draw "
        "it when the container starts"
    ),
)
RANDOM_NAME = Cause(
    id="random-name",
    title="random name or temporary path",
    explanation="A file or folder has a name that mktemp or its like drew by chance, or a file tells of one.",
    hint=(
        "work in a folder with a fixed name instead of `mktemp`'s, and remove it in the same RUN: "
        "`mkdir /build && … && rm -rf /build`"
    ),
)
PASSWORD_SALT = Cause(
    id="password-salt",
    title="salt of a password's hash",
    explanation="A password was hashed with a salt drawn by chance (crypt(5)).",
    hint=(
        "leave the account without a password (`passwd -l USER`), or set a hash that was made once: "
        "`usermod -p '$6$…' USER`"
    ),
)
BUILD_DATE = Cause(
    id="build-date",
    title="build date in a file",
    explanation="The clock at the time of the build was written into a file.",
    hint=(
        "write the epoch instead: `date -u -d @$SOURCE_DATE_EPOCH`; compilers and many tools take "
        "SOURCE_DATE_EPOCH from the environment, where rbuild puts it"
    ),
)
ELAPSED_TIME = Cause(
    id="elapsed-time",
    title="measured duration",
    explanation="How long something took was written into a file.",
    hint="do not keep the report: `… > /dev/null`, `--quiet`, or `rm` it in the same RUN",
)
KERNEL_OR_CPU = Cause(
    id="kernel-or-cpu",
    title="kernel or processor of the host",
    explanation="Output depends on the kernel's release, the processor's model or features, or the memory.",
    hint=(
        "compile for a fixed target (`-march=x86-64-v2` instead of `-march=native`), and do not keep the "
        "output of uname, lscpu or /proc"
    ),
)
CPU_COUNT = Cause(
    id="cpu-count",
    title="number of processors",
    explanation="The number of processors that the build could use was written down.",
    hint="use a fixed number (`make -j4`, `--workers 4`) instead of `nproc` where it is kept",
)
HOSTNAME = Cause(
    id="hostname",
    title="host name of the build",
    explanation="The name of the building machine or container was written into a file.",
    hint=(
        "build with rbuild, whose host name is always the same, or write a fixed one in the same RUN: "
        "`echo localhost > /etc/mailname`"
    ),
)
UNKNOWN = Cause(
    id="unknown",
    title="cause unknown",
    explanation="Nothing in the differing bytes shows why they differ.",
    hint=(
        "`rbuild verify --vary` says which condition of the build changes the digest; "
        "`rbuild diff --deep` hands the pair to diffoscope"
    ),
)

CATALOGUE: tuple[Cause, ...] = (
    IMAGE_TIMES,
    DERIVED_HASH,
    BUILD_ARGUMENT,
    OTHER_CONTAINERFILE,
    USER_OR_UMASK,
    BYTECODE,
    GZIP_HEADER,
    ARCHIVE_MEMBER_TIMES,
    BUILD_PATH,
    DATABASE_PAGES,
    GIT_METADATA,
    PACKAGE_LEFTOVERS,
    MACHINE_ID,
    SSH_HOST_KEYS,
    GENERATED_KEY,
    UNLOCKED_NETWORK,
    UNSORTED_LISTING,
    HASH_ORDER,
    LOCALE,
    UUID,
    RANDOM_NAME,
    PASSWORD_SALT,
    BUILD_DATE,
    ELAPSED_TIME,
    KERNEL_OR_CPU,
    CPU_COUNT,
    HOSTNAME,
    UNKNOWN,
)
"""All causes in the order of asking: what a place or a format shows, another order, what the first differing
token shows, and the honest last one."""
