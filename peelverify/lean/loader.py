"""Patch of the WebAssembly loader: a copy of ``lean.js`` that starts in seconds instead of minutes.

The shipped loader spends 100 s a file on bookkeeping for 201,110 exported functions, although it uses
fifty of them by name. The copy differs in what it does at start, never in what Lean computes:

1. Exports that no script line uses are not copied into script variables (89 MB of script become 0.7 MB).
2. A symbol is looked up in the export object itself, not in a list of all names.
3. Only the 269 table entries that the module imports become globals; functions are entered into the
   table once, in the order of the export list, so that every thread agrees on their addresses.
4. One worker thread is started, and the main thread does not wait for it.
5. A worker reads compiled library files itself. As shipped each read, stat and seek is handed to the
   main thread, which looks for such work once a millisecond.
6. The file system inside shows the folders named in ``PEELVERIFY_MOUNTS`` and nothing else
   (without that variable ``/home`` and ``/tmp``, as shipped); the working folder may be named in
   ``PEELVERIFY_FOLDER``; debug lines are not printed.
7. A script that loads it may hand it a compiled module, in ``globalThis.peelverifyModule``.

Every replacement states how often its text must occur; a loader that differs is refused.
"""

from __future__ import annotations

import re

from peelverify.errors import ToolchainError

__all__ = ["patch_loader"]

_ASSIGN = "function assignWasmExports(wasmExports){"
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")
_MERGE = (
    "var mergeLibSymbols=(exports,libName)=>{"
    "for(var sym of Object.keys(wasmImports))"
    "{if(wasmImports[sym]?.stub&&sym in exports)wasmImports[sym]=exports[sym]}"
    'if("__main_argc_argv"in exports)wasmImports["main"]=exports["__main_argc_argv"];'
    "Object.setPrototypeOf(wasmImports,exports)};"
)
_FILL = (
    "var exportIndex=new Map;var exportAddress=symbol=>exportIndex.get(symbol)||0;"
    "var fillTable=exports=>{var functions=[];var at=wasmTable.length;"
    "for(var name in exports){var f=exports[name];"
    'if(typeof f=="function"){exportIndex.set(name,at++);functions.push(f)}}'
    "var base=wasmTable.grow(functions.length);"
    "for(var i=0;i<functions.length;i++)wasmTable.set(base+i,functions[i])};"
)
# Descriptors of a worker's own read-only files start above any that the main thread hands out.
_READER = (
    "var ownFiles=new Map;var ownFirst=1<<24;var ownNext=ownFirst;"
    'var ownPath=path=>path.startsWith("/")&&/\\.(olean|ir)(\\.[a-z]+)?$/.test(path);'
    "var ownStat=(path,buf)=>{var st=fs.statSync(path,{throwIfNoEntry:false});"
    "return st?SYSCALLS.writeStat(buf,st):-44};"
    "var ownOpen=path=>{try{var real=fs.openSync(path,fs.constants.O_RDONLY)}"
    'catch(e){return e.code=="ENOENT"?-44:-2}ownFiles.set(ownNext,{real,at:0});return ownNext++};'
    "var ownRead=(fd,iov,count,pnum)=>{var file=ownFiles.get(fd);var total=0;growMemViews();"
    "for(var i=0;i<count;i++){var ptr=HEAPU32[iov+8*i>>2];var len=HEAPU32[iov+8*i+4>>2];if(!len)continue;"
    "var got=fs.readSync(file.real,HEAPU8,ptr,len,file.at);file.at+=got;total+=got;if(got<len)break}"
    "HEAPU32[pnum>>2]=total;return 0};"
    "var ownSeek=(fd,offset,whence,out)=>{var file=ownFiles.get(fd);"
    "var base=whence==0?0:whence==1?file.at:fs.fstatSync(file.real).size;var at=base+Number(offset);"
    "if(at<0)return 28;file.at=at;growMemViews();HEAP64[out>>3]=BigInt(at);return 0};"
    "var ownClose=fd=>{fs.closeSync(ownFiles.get(fd).real);ownFiles.delete(fd);return 0};"
)
_MOUNTS = (
    "for(var dir of process.env.PEELVERIFY_MOUNTS?JSON.parse(process.env.PEELVERIFY_MOUNTS):"
    '["/home","/tmp"]){FS.mkdirTree(dir);FS.mount(NODEFS,{root:dir},dir)}'
)
# (text as shipped, occurrences, replacement)
_REPLACEMENTS = (
    (
        'var Module=typeof Module!="undefined"?Module:{};',
        1,
        "var Module=globalThis.peelverifyModule||{};",
    ),
    ("var cwd=process.cwd();", 1, "var cwd=process.env.PEELVERIFY_FOLDER||process.cwd();"),
    (
        "newSymIndex=Object.keys(lib.exports).indexOf(symbol);if(newSymIndex==-1||",
        1,
        "if(!(symbol in lib.exports)||",
    ),
    (
        'if(typeof result=="function"){var addr=getFunctionAddress(result);',
        1,
        'if(typeof result=="function"){var addr=exportAddress(symbol)||getFunctionAddress(result);',
    ),
    (
        "(growMemViews(),HEAPU32)[symbolIndex>>2]=newSymIndex",
        1,
        "newSymIndex=Object.keys(lib.exports).indexOf(symbol);(growMemViews(),HEAPU32)[symbolIndex>>2]=newSymIndex",
    ),
    (
        "if(isInternalSym(symName)){continue}var value=exports[symName];var existingEntry",
        1,
        "if(!(symName in GOT)||isInternalSym(symName)){continue}var value=exports[symName];var existingEntry",
    ),
    (
        "if(!dynamicLibraries.length){reportUndefinedSymbols();return}",
        1,
        "if(!dynamicLibraries.length){reportUndefinedSymbols();fillTable(wasmExports);return}",
    ),
    ("var loadDylibs=", 1, _FILL + _READER + "var loadDylibs="),
    ("var pthreadPoolSize=4", 1, "var pthreadPoolSize=1"),
    (
        'addRunDependency("loading-workers");await pthreadPoolReady;removeRunDependency("loading-workers")',
        1,
        "",
    ),
    (
        "function ___syscall_stat64(path,buf){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function ___syscall_stat64(path,buf){if(ENVIRONMENT_IS_PTHREAD){var own=SYSCALLS.getStr(path);"
        "if(ownPath(own))return ownStat(own,buf)}if(ENVIRONMENT_IS_PTHREAD)",
    ),
    (
        "function ___syscall_openat(dirfd,path,flags,varargs){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function ___syscall_openat(dirfd,path,flags,varargs){if(ENVIRONMENT_IS_PTHREAD&&!(flags&3)&&!(flags&64)){"
        "var own=SYSCALLS.getStr(path);if(ownPath(own))return ownOpen(own)}if(ENVIRONMENT_IS_PTHREAD)",
    ),
    (
        "function ___syscall_fstat64(fd,buf){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function ___syscall_fstat64(fd,buf){if(ownFiles.has(fd))"
        "return SYSCALLS.writeStat(buf,fs.fstatSync(ownFiles.get(fd).real));if(ENVIRONMENT_IS_PTHREAD)",
    ),
    (
        "function _fd_read(fd,iov,iovcnt,pnum){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function _fd_read(fd,iov,iovcnt,pnum){if(ownFiles.has(fd))return ownRead(fd,iov,iovcnt,pnum);"
        "if(ENVIRONMENT_IS_PTHREAD)",
    ),
    (
        "function _fd_seek(fd,offset,whence,newOffset){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function _fd_seek(fd,offset,whence,newOffset){if(ownFiles.has(fd))return ownSeek(fd,offset,whence,newOffset);"
        "if(ENVIRONMENT_IS_PTHREAD)",
    ),
    (
        "function _fd_close(fd){if(ENVIRONMENT_IS_PTHREAD)",
        1,
        "function _fd_close(fd){if(ownFiles.has(fd))return ownClose(fd);if(ENVIRONMENT_IS_PTHREAD)",
    ),
    ('FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");', 1, _MOUNTS),
)


def patch_loader(script: str) -> str:
    """Return the fast copy of the loader.

    Args:
        script: text of ``lean.js`` as shipped in the pinned package.

    Raises:
        ToolchainError: if the text is not the expected one.
    """
    begin = _only(script, _ASSIGN)
    body = begin + len(_ASSIGN)
    end = script.index("}", body)
    declared = script.rindex("var ", 0, begin)
    used = set(_IDENTIFIER.findall(script[:declared] + script[end:])) | {"wasmTable"}
    names = [name for name in script[declared + 4 : begin].rstrip(";").split(",") if name in used]
    assignments = [line for line in script[body:end].split(";") if line.split("=", 1)[0] in used]
    script = f"{script[:declared]}var {','.join(names)};{_ASSIGN}{';'.join(assignments)}{script[end:]}"
    merge = _only(script, "var mergeLibSymbols=")
    script = script[:merge] + _MERGE + script[script.index("var asyncLoad=", merge) :]
    for old, count, new in _REPLACEMENTS:
        if script.count(old) != count:
            raise ToolchainError(
                f"patch_loader needs {count} occurrence(s) of {old[:60]!r}, got {script.count(old)}; "
                "this is not the pinned loader",
                text=old,
            )
        script = script.replace(old, new)
    return script.replace('console.log("[DEBUG', 'void("[DEBUG')


def _only(script: str, text: str) -> int:
    """Position of a text that must occur exactly once."""
    if script.count(text) != 1:
        raise ToolchainError(
            f"patch_loader needs {text!r} exactly once, got {script.count(text)}; this is not the pinned loader",
            text=text,
        )
    return script.index(text)
