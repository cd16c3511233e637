"""Installs tehon into `.venv` beside this file and runs it. Plain Python, the same on Windows, macOS and Linux.

    python launch.py demo           trains a LoRA on the small model in the box
    python launch.py test ...       installs the development tools as well and runs pytest
    python launch.py COMMAND ...    anything else goes to the `tehon` command

Before the command: `--torch-index URL` takes PyTorch from that wheel index (remembered in `.venv`; `default` goes back
to pip's own), `--verbose` shows what pip says. The same from the environment: TEHON_TORCH_INDEX, TEHON_VERBOSE=1, and
TEHON_LANG=en or ja. A failed install is one sentence and exit code 2.

This file must parse on a Python that is too old for tehon, so that its owner meets a sentence and not a syntax error:
nothing newer than the grammar of 3.6. Imports that only an install needs are inside the functions, for a quick start.
"""

import hashlib
import json
import os
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 10)
WINDOWS = os.name == "nt"
DEFAULT = "default"  # the index that pip itself is set up with

SENTENCES = {
    "en": {
        "usage": "usage: python launch.py [--torch-index URL] [--verbose] demo | test | COMMAND ...\n"
        "The first run installs everything into .venv; COMMAND is one of tehon's own.",
        "old_python": "Python {python} is too old; install 3.10 or newer (say 3.12) and start launch.py with it.",
        "no_value": "--torch-index needs the address of a wheel index, or the word default.",
        "index": "PyTorch: the build from {index}, as you asked.",
        "mps": "PyTorch: the build for Apple's GPU (MPS), because this is a Mac with an Apple chip.",
        "cuda": "PyTorch: the CUDA build (pip's default), because nvidia-smi finds {gpu}.",
        "cuda_old": "PyTorch: pip's default, on the CPU, because its CUDA 13 needs a newer card than {gpu}, or a newer "
        "driver (580); for CUDA 12.6 {choose}",
        "cuda_windows": "PyTorch: pip's default, which on Windows is for the CPU; to use {gpu} {choose}",
        "rocm": "PyTorch: pip's default, on the CPU, because it is not for ROCm ({gpu}); to use the AMD GPU {choose}",
        "cpu": "PyTorch: the CPU build (pip's default), because no GPU was found that PyTorch can use.",
        "cpu_linux": "PyTorch: pip's default, on the CPU, because no GPU was found; on Linux it may bring CUDA along, "
        "which works but is large; for the small one {choose}",
        "choose": "run `python launch.py --torch-index URL ...` with the address that ends in {tag}, from pytorch.org, "
        "'Get Started'.",
        "making": "Making .venv ...",
        "torch": "Installing PyTorch ... (the big part: minutes on a slow line)",
        "project": "Installing tehon and what it needs ...",
        "done": "Installed in {seconds} s; the next start goes straight to work.",
        "foreign": "{folder} is an environment that launch.py did not make; rename or delete it and run again.",
        "little_disk": "About {need} GB are needed, but {folder} has {free} GB free; free some space and run again.",
        "no_disk": "The disk is full; free some space (the temporary folder counts too) and run again.",
        "no_write": "{folder} can't be written to; check its permissions, close programs that use it, and run again.",
        "no_network": "The package index can't be reached; check the network (or HTTPS_PROXY) and run again.",
        "no_venv": "This Python can't make environments; run `sudo apt install python3-venv` on Debian or Ubuntu, "
        "elsewhere install Python from python.org, and run again.",
        "no_wheel": "{package} has no build for this machine ({machine}, Python {python}, {bits}-bit); use a 64-bit "
        "Python from 3.10 to 3.14 and run again.",
        "long_path": "The path {folder} is too long for Windows; move it to one like C:\\tehon and run again.",
        "failed": "The install failed and its last lines are in {log}; mend what they name and run again.",
        "interrupted": "Interrupted; run again to go on.",
    },
    "ja": {
        "usage": "使い方: python launch.py [--torch-index URL] [--verbose] demo | test | コマンド ...\n"
        "初回に必要なものをすべて .venv に入れます。コマンドは tehon のものです。",
        "old_python": "Python {python} は古すぎます。3.10 以降 (3.12 など) を入れ、それで起動してください。",
        "no_value": "--torch-index には wheel インデックスのアドレスか、default という語が必要です。",
        "index": "PyTorch: 指定された {index} のビルドを使います。",
        "mps": "PyTorch: Apple チップの Mac なので、Apple GPU (MPS) 用のビルドを使います。",
        "cuda": "PyTorch: nvidia-smi が {gpu} を見つけたので、CUDA 用のビルド (pip の既定) を使います。",
        "cuda_old": "PyTorch: pip の既定のビルドを CPU で使います。その CUDA 13 には {gpu} より新しい GPU か、"
        "新しいドライバー (580) が必要です。CUDA 12.6 用は、{choose}",
        "cuda_windows": "PyTorch: pip の既定のビルドを使います。Windows では CPU 用です。{gpu} には、{choose}",
        "rocm": "PyTorch: pip の既定のビルドを CPU で使います。ROCm ({gpu}) 用ではありません。AMD GPU には、{choose}",
        "cpu": "PyTorch: 使える GPU が見つからないので、CPU 用のビルド (pip の既定) を使います。",
        "cpu_linux": "PyTorch: GPU が見つからないので、pip の既定のビルドを CPU で使います。Linux では CUDA を含む"
        "大きなものになることがあります (動作します)。小さいものは、{choose}",
        "choose": "pytorch.org の 'Get Started' にある、{tag} で終わるアドレスを付けて "
        "`python launch.py --torch-index URL ...` を実行してください。",
        "making": ".venv を作っています ...",
        "torch": "PyTorch を入れています ... (一番大きい部分です。回線が遅いと数分かかります)",
        "project": "tehon と必要なものを入れています ...",
        "done": "{seconds} 秒で入りました。次からはすぐに始まります。",
        "foreign": "{folder} は launch.py が作った環境ではありません。名前を変えるか消して、再実行してください。",
        "little_disk": "約 {need} GB 必要ですが、{folder} の空きは {free} GB です。空きを増やして再実行してください。",
        "no_disk": "ディスクがいっぱいです。空きを増やし (一時フォルダーも含みます)、再実行してください。",
        "no_write": "{folder} に書き込めません。権限を確かめ、使用中のプログラムを閉じて、再実行してください。",
        "no_network": "配布元につながりません。ネットワーク (プロキシは HTTPS_PROXY) を確かめ、再実行してください。",
        "no_venv": "この Python は環境を作れません。Debian や Ubuntu では `sudo apt install python3-venv` を実行し、"
        "それ以外では python.org の Python を入れて、再実行してください。",
        "no_wheel": "{package} にはこの環境 ({machine}、Python {python}、{bits} ビット) 用のビルドがありません。"
        "64 ビットの Python 3.10 から 3.14 で再実行してください。",
        "long_path": "{folder} のパスは Windows には長すぎます。C:\\tehon のような短い場所に移し、再実行してください。",
        "failed": "失敗しました。最後の出力は {log} にあります。そこにある問題を直して、再実行してください。",
        "interrupted": "中断しました。再実行すると続きから始まります。",
    },
}

# What pip and venv say, most telling first: a dead network, too, ends in "No matching distribution found".
SIGNS = [
    ("long_path", ["Long Path support"]),
    ("no_disk", ["No space left on device", "[Errno 28]", "[WinError 112]"]),
    ("no_venv", ["ensurepip is not", "No module named venv", "No module named ensurepip"]),
    ("no_network", ["NewConnectionError", "NameResolutionError", "Failed to establish a new connection", "ProxyError"]),
    ("no_network", ["ConnectTimeoutError", "ReadTimeoutError", "Read timed out", "ProtocolError", "SSLError"]),
    ("no_wheel", ["No matching distribution found", "requested (constraint)", "requires a different Python"]),
    ("no_write", ["Permission denied", "Read-only file system", "[WinError 5]", "[WinError 32]"]),
]


class InstallError(Exception):
    """Carries the one sentence for the person."""


def language(environment: dict) -> str:
    asked = environment.get("TEHON_LANG") or environment.get("LC_ALL") or environment.get("LANG") or ""
    return "ja" if asked.lower().startswith("ja") else "en"


def sentence(key: str, **values: object) -> str:
    return SENTENCES[language(os.environ)][key].format(**values)


def say(key: str, **values: object) -> None:
    # On stderr, which never fails to encode and leaves stdout to what the command prints.
    print(sentence(key, **values), file=sys.stderr, flush=True)


def check_python(version: tuple) -> None:
    if tuple(version[:2]) < OLDEST:
        raise InstallError(sentence("old_python", python="%d.%d" % tuple(version[:2])))


def read_arguments(arguments: list, environment: dict) -> tuple:
    """(index or "", verbose, rest): our own options stand before the command; all after it belongs to the command."""
    index, verbose, rest = environment.get("TEHON_TORCH_INDEX", ""), environment.get("TEHON_VERBOSE") == "1", arguments
    while rest and rest[0].split("=")[0] in ("--torch-index", "--verbose"):
        name, equals, value = rest[0].partition("=")
        rest = rest[1:]
        if name == "--verbose":
            verbose = True
            continue
        if not equals and rest:
            value, rest = rest[0], rest[1:]
        if value != DEFAULT and "/" not in value:
            raise InstallError(sentence("no_value"))
        index = value
    return index, verbose, rest


def stamp(root: str, python: str, extras: str, index: str) -> str:
    """Changes with everything that an install depends on."""
    digest = hashlib.sha256("\0".join([root, sys.platform, python, extras, index]).encode("utf-8", "surrogateescape"))
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(b"\0" + file.read())
    return digest.hexdigest()


def read_state(venv: str) -> dict:
    """How far the install in `venv` got: made (by what, where), index (wanted), torch (in place), extras, stamp."""
    try:
        with open(os.path.join(venv, "tehon.json"), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def write_state(venv: str, state: dict) -> None:
    with open(os.path.join(venv, "tehon.json"), "w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)


def program(venv: str, name: str) -> str:
    return os.path.join(venv, "Scripts", name + ".exe") if WINDOWS else os.path.join(venv, "bin", name)


def find_nvidia() -> tuple:
    """(name of the GPU, whether CUDA 13 can use it), or ("", False)."""
    import subprocess

    ask = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=True)
        return read_nvidia(answer.stdout.decode("utf-8", "replace"))
    except (OSError, subprocess.SubprocessError):
        return "", False


def read_nvidia(answer: str) -> tuple:
    """CUDA 13 asks for driver 580 and a Turing card (compute capability 7.5)."""
    try:
        name, driver, capability = [word.strip() for word in answer.strip().splitlines()[0].rsplit(",", 2)]
        return name, int(driver.split(".")[0]) >= 580 and float(capability) >= 7.5
    except (IndexError, ValueError):
        return "", False


def find_rocm() -> str:
    import shutil

    return shutil.which("rocminfo") or ("/opt/rocm" if os.path.isdir("/opt/rocm") else "")


def choose_torch(system: str, machine: str, nvidia: tuple, rocm: str, index: str) -> tuple:
    """(key of the sentence that says which and why, tag of the index that would fit better, GB of disk it takes).

    No wheel index is named here, so another build than pip's default is the person's choice, by --torch-index.
    """
    gpu, modern = nvidia
    if index != DEFAULT:
        return "index", "", 3 if index.rstrip("/").endswith("cpu") else 8
    if system == "Darwin" and machine == "arm64":
        return "mps", "", 3
    if gpu and system == "Linux":
        return ("cuda", "", 8) if modern else ("cuda_old", "cu126", 8)
    if gpu and system == "Windows":
        return "cuda_windows", "cu130" if modern else "cu126", 3
    if rocm and system == "Linux":
        return "rocm", "rocm7.2", 3
    return ("cpu_linux", "cpu", 3) if system == "Linux" else ("cpu", "", 3)


def explain(output: str) -> str:
    """The sentence for what pip, venv or the operating system said, or "" for something unknown."""
    import platform
    import re

    package = re.search(r"(?:No matching distribution found for|requested \(constraint\)) ([\w.-]+)", output)
    values = {"package": package.group(1) if package else "tehon", "folder": ROOT, "machine": platform.machine()}
    values.update(python=platform.python_version(), bits=64 if sys.maxsize > 2**32 else 32)
    keys = [key for key, signs in SIGNS if any(sign in output for sign in signs)]
    return sentence(keys[0], **values) if keys else ""


def check_disk(need: int, free: int) -> None:
    if free < need * 10**9:
        raise InstallError(sentence("little_disk", folder=ROOT, need=need, free="%.1f" % (free / 1e9)))


def run(command: list, verbose: bool) -> None:
    """Runs a step of the install out of sight; its failure becomes a sentence."""
    import subprocess

    environment = dict(os.environ, PYTHONIOENCODING="utf-8", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    lines = []
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in child.stdout:
        lines.append(line.decode("utf-8", "replace"))
        if verbose:
            print(lines[-1], end="", file=sys.stderr, flush=True)
    if child.wait() == 0:
        return
    known, log = explain("".join(lines)), os.path.join(ROOT, ".venv", "install.log")
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "w", encoding="utf-8") as file:
            file.writelines(lines[-100:])
    except OSError:
        if not known:
            raise
    raise InstallError(known or sentence("failed", log=log))


def make_venv(venv: str, verbose: bool) -> None:
    """Makes the environment anew, with a prompt by which we know it as ours; somebody else's is never emptied."""
    config = os.path.join(venv, "pyvenv.cfg")
    if os.path.exists(config):
        with open(config, encoding="utf-8", errors="replace") as file:
            ours = "prompt = 'tehon'" in file.read()
    else:
        ours = not os.path.exists(venv) or not set(os.listdir(venv)) - {"install.log"}
    if not ours:
        raise InstallError(sentence("foreign", folder=venv))
    say("making")
    run([sys.executable, "-m", "venv", "--clear", "--prompt", "tehon", venv], verbose)


def torch_pin(constraints: str) -> str:
    with open(constraints, encoding="utf-8") as file:
        return next(line.strip() for line in file if line.startswith("torch=="))


def announce_torch(index: str) -> None:
    """Says which PyTorch comes and why, and that it fits on the disk."""
    import platform
    import shutil

    nvidia, rocm = find_nvidia(), find_rocm()
    key, tag, need = choose_torch(platform.system(), platform.machine(), nvidia, rocm, index)
    # An address may carry a password before its @.
    say(key, gpu=nvidia[0] or rocm, index=index.split("@")[-1], choose=sentence("choose", tag=tag))
    check_disk(need, shutil.disk_usage(ROOT).free)


def install(venv: str, state: dict, python: str, extras: str, index: str, verbose: bool) -> None:
    """Goes on from where `state` says that the last install got to."""
    import compileall
    import contextlib
    import time

    begun = time.time()
    constraints = os.path.join(ROOT, "constraints.txt")
    pin = torch_pin(constraints)
    torch = pin + " " + index
    made = python + " " + ROOT  # an environment can't be moved
    fresh = state.get("made") != made or not os.path.exists(program(venv, "python"))
    same_torch = not fresh and state.get("torch") == torch
    if not same_torch:
        announce_torch(index)
    if fresh:
        make_venv(venv, verbose)
    state = {"made": made, "torch": torch if same_torch else "", "index": index, "extras": extras}
    write_state(venv, state)
    # Wheels only: where there is none, a sentence is worth more than a compiler's errors. dadaptation has none at all,
    # and is Python alone, so that nothing is compiled.
    pip = [program(venv, "python"), "-m", "pip", "install", "--only-binary", ":all:", "--no-binary", "dadaptation"]
    if not same_torch:
        say("torch")
        # An index of PyTorch's own lacks our versions of torch's requirements; the project's install brings them.
        source = ["-c", constraints] if index == DEFAULT else ["--index-url", index]
        # Forced, since pip takes a torch of the same version from another index for good enough.
        run(pip + ["--force-reinstall", pin] + source, verbose)
        state["torch"] = torch
        write_state(venv, state)
    say("project")
    run(pip + ["-c", constraints, "-e", "." + extras], verbose)
    # pip compiles what it copies, and an editable install copies nothing: the first start would pay for it.
    compileall.compile_dir(os.path.join(ROOT, "src"), quiet=2)
    # So would the first training for loops, which are compiled for this processor. If that fails now, it tries again.
    with contextlib.suppress(InstallError, OSError):
        loops = "from tehon.loops.kept import compile_all; compile_all()"
        run([program(venv, "python"), "-c", loops], verbose)
    state["stamp"] = stamp(ROOT, python, extras, index)
    write_state(venv, state)
    say("done", seconds=round(time.time() - begun))


def start(command: list) -> int:
    """Becomes the command, or on Windows, where a process can't, waits for it."""
    if not WINDOWS:
        os.execv(command[0], command)
    return wait(command)


def wait(command: list) -> int:
    import subprocess

    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            pass  # the command got it too, and may be saving


def test(python: str, words: list) -> int:
    """Runs the tests that words for pytest choose, or all: on all cores, then alone those that measure time."""
    pytest = [python, "-m", "pytest"]
    if words:
        return start(pytest + words)
    codes = []
    spread = ["-n", "logical", "--dist", "loadfile", "--no-loadscope-reorder"]
    for more in (spread + ["-m", "not alone"], ["-m", "alone"]):
        codes.append(wait(pytest + more))
        if codes[-1] == 2:  # interrupted
            break
    return next(filter(None, codes), 0)


def launch(arguments: list) -> int:
    check_python(sys.version_info)
    index, verbose, rest = read_arguments(arguments, os.environ)
    venv, python = os.path.join(ROOT, ".venv"), "%d.%d" % sys.version_info[:2]
    tehon, state = program(venv, "tehon"), read_state(venv)
    index = index or state.get("index", DEFAULT)
    extras = "[dev]" if rest[:1] == ["test"] else state.get("extras", "")
    ready = state.get("stamp") == stamp(ROOT, python, extras, index) and os.path.exists(tehon)
    if rest[:1] in ([], ["-h"], ["--help"]):
        say("usage")
        if not ready:
            return 0
    if not ready:
        install(venv, state, python, extras, index, verbose)
    if rest[:1] == ["test"]:
        os.chdir(ROOT)
        return test(program(venv, "python"), rest[1:])
    return start(([] if WINDOWS else [program(venv, "python")]) + [tehon] + (rest or ["--help"]))


def main(arguments: list) -> int:
    try:
        return launch(arguments)
    except InstallError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(explain(str(error)) or error, file=sys.stderr)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
